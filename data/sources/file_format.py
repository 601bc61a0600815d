"""What a file holds, by its first bytes, as the suffix that other programs know it by."""

from __future__ import annotations

SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"II+\0": ".tif",  # larger than 4 GB
    b"MM\0+": ".tif",
    b"\0\0\x01\0": ".ico",
    b"\0\0\0\x0cjP  ": ".jp2",
    b"OggS": ".ogg",
    b"fLaC": ".flac",
    b"ID3": ".mp3",
    b"RF64": ".wav",
    b"caff": ".caf",
    b".snd": ".au",
    b"\x93NUMPY": ".npy",
}
# Containers that say at byte 8 what they contain: IFF and RIFF, and the boxes of ISO 14496-12.
CHUNKS = {
    (b"RIFF", b"WAVE"): ".wav",
    (b"RIFF", b"WEBP"): ".webp",
    (b"RIFF", b"AVI "): ".avi",
    (b"FORM", b"AIFF"): ".aiff",
    (b"FORM", b"AIFC"): ".aiff",
}
BRANDS = {
    b"avif": ".avif",
    b"avis": ".avif",
    b"heic": ".heic",
    b"heix": ".heic",
    b"mif1": ".heic",
    b"msf1": ".heic",
    b"M4A ": ".m4a",
    b"M4B ": ".m4a",
    b"qt  ": ".mov",
}


def suffix_of(content: bytes) -> str:
    """The suffix, ".png" for instance; empty for a format that is not known here."""
    if (suffix := CHUNKS.get((content[:4], content[8:12]))) is not None:
        return suffix
    if content[4:8] == b"ftyp":
        return _brand(content)
    for start, suffix in SIGNATURES.items():
        if content.startswith(start):
            return suffix
    return ".mp3" if _is_mpeg_audio(content) else ""


def _brand(content: bytes) -> str:
    """By the first known brand of the file: the major one, then those that it is compatible with."""
    end = min(int.from_bytes(content[:4], "big"), 128)
    brands = [content[8:12], *(content[place : place + 4] for place in range(16, end, 4))]
    # An AVIF may call itself an image of any kind (mif1) first, and what it is only among the others.
    if {b"avif", b"avis"} & set(brands):
        return ".avif"
    return next((BRANDS[brand] for brand in brands if brand in BRANDS), ".mp4")


def _is_mpeg_audio(content: bytes) -> bool:
    """Whether a frame of MPEG audio, layer III, begins here: eleven bits set, and no field has its reserved value."""
    if len(content) < 4 or content[0] != 0xFF or content[1] & 0xE0 != 0xE0:
        return False
    version, layer = content[1] >> 3 & 3, content[1] >> 1 & 3
    bit_rate, sampling_rate = content[2] >> 4, content[2] >> 2 & 3
    return version != 1 and layer == 1 and bit_rate != 15 and sampling_rate != 3
