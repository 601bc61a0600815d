"""What a manifest holds and what is odd about it: duplicates, leaks, sizes, answers, missing files."""

from data.inspection.checking import check
from data.inspection.clean import clean
from data.inspection.manifests import named_manifests, one_manifest

__all__ = ["check", "clean", "named_manifests", "one_manifest"]
