"""What is odd about single media, about the answers of a manifest, and about its keys."""

from __future__ import annotations

from collections.abc import Iterator

from data.inspection.facts import Facts, Picture, Sound
from data.inspection.findings import Finding
from data.inspection.measures import Measures
from data.inspection.scan import Scan
from data.sources.fields import nearest

SMALL_SIDE, LARGE_PIXELS, NARROW = 16, 25_000_000, 5.0
SILENT, CLIPPED_SHARE, SHORT_SECONDS, LONG_SECONDS = 1e-3, 0.01, 0.1, 30.0
# With fewer answers, shares say nothing. From these shares on, they are worth a word.
MIN_ANSWERS, FREQUENT_SHARE, GUESSED_SHARE = 20, 0.5, 0.8
# Fields of metadata that the code and the configurations read (docs/data.md says what for).
METADATA = (
    "answer_type",
    "template",
    "image",
    "concept",
    "group",
    "asked_in",
    "question",
    "synthesiser",
    "pair",
    "carrier",
)


def oddities(scan: Scan) -> Iterator[Finding]:
    """Findings that need no comparison between rows."""
    yield from _media(scan)
    for split, measures in scan.measures.items():
        yield from _answers(split, measures)
        yield from _keys(split, measures)
        rates = sorted({sound.rate for sound in measures.sounds.values()})
        if len(rates) > 1:
            yield Finding("mixed_rates", split, detail=", ".join(f"{rate:,} Hz" for rate in rates[:8]))


def _media(scan: Scan) -> Iterator[Finding]:
    """Each content once for each manifest, at its first use there."""
    told = set()
    for use in scan.uses:
        row = scan.rows[use.row]
        if (row.split, use.content) not in told:
            told.add((row.split, use.content))
            for kind, detail in odd_medium(scan.contents[use.content]):
                what = f"{use.file or 'data'}: {detail}"
                yield Finding(kind, row.split, row.line, row.id, use.field, what)


def odd_medium(facts: Facts) -> Iterator[tuple[str, str]]:
    """Kinds of findings about one medium, with what was measured."""
    if isinstance(facts, Picture):
        yield from _odd_picture(facts)
    elif isinstance(facts, Sound):
        yield from _odd_sound(facts)


def _odd_picture(picture: Picture) -> Iterator[tuple[str, str]]:
    width, height = picture.width, picture.height
    size = f"{width} x {height}"
    if picture.print.is_flat:
        yield "blank_picture", size
    if min(width, height) < SMALL_SIDE:
        yield "small_picture", size
    if width * height > LARGE_PIXELS:
        yield "large_picture", size
    if max(width, height) > NARROW * min(width, height):
        yield "narrow_picture", size


def _odd_sound(sound: Sound) -> Iterator[tuple[str, str]]:
    if sound.peak < SILENT:
        yield "silent_sound", f"no sample is louder than {sound.peak:.1g} of 1"
    if sound.clipped > CLIPPED_SHARE:
        yield "clipped_sound", f"{sound.clipped:.1%} of the samples"
    if sound.seconds < SHORT_SECONDS:
        yield "short_sound", f"{sound.seconds:.3f} s"
    if sound.seconds > LONG_SECONDS:
        yield "long_sound", f"{sound.seconds:.1f} s"


def _answers(split: str, measures: Measures) -> Iterator[Finding]:
    total = measures.answers.total()
    if total < MIN_ANSWERS:
        return
    share, guessed = measures.most_frequent_share(), measures.guessed_share()
    if share >= FREQUENT_SHARE:
        answer = measures.answers.most_common(1)[0][0]
        yield Finding("frequent_answer", split, detail=f"{answer[:60]!r} is {share:.1%} of {total:,} answers")
    if guessed >= GUESSED_SHARE:
        detail = f"the most frequent answer to each question is right in {guessed:.1%} of {total:,}"
        yield Finding("guessable", split, detail=detail)


def _keys(split: str, measures: Measures) -> Iterator[Finding]:
    for key, count in measures.unread_keys.most_common():
        belongs = '; it is read in "metadata"' if key in METADATA else ""
        yield Finding("unread_key", split, field=key[:60], detail=f"in {count:,} rows{belongs}")
    for key, count in measures.metadata.most_common():
        meant = nearest(key, METADATA) if key not in METADATA else None
        if meant is not None and meant not in measures.metadata:
            yield Finding(
                "misspelt_metadata", split, field=f"metadata.{key[:60]}", detail=f"in {count:,} rows; {meant}?"
            )
