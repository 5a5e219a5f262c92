"""Folders under names that Snakemake takes as they are: links, where a name means something else to it.

    /results/p/it/lr@1_2b05b5b0    itself
    /results/odd/{b}               .snakemake/heyhi/5f2b1c90a4d7e813, a link to it

Snakemake reads braces in a path as wildcards and `<name>` as a variable, splits at commas what it hands to
its children, and matches no line break. Nothing escapes these. A link is found from where Snakemake runs.
"""

import hashlib
import os
import re
from pathlib import Path

__all__ = ["Aliases"]

_PLACE = Path(".snakemake", "heyhi")
_PLAIN = re.compile(r"[\w@.+=/ -]*[\w@.+=/-]")


class Aliases:
    """The names of folders in the workflow of one call of Snakemake."""

    def __init__(self) -> None:
        self._links: dict[str, Path] = {}

    def of(self, folder: Path) -> str:
        """The path by which rules name a folder."""
        text = str(folder)
        if _PLAIN.fullmatch(text):
            return text
        alias = str(_PLACE / hashlib.sha256(os.fsencode(text)).hexdigest()[:16])
        self._links[alias] = folder
        return alias

    def make(self) -> None:
        """Make the links that `of` has named, and folders as Snakemake makes those of outputs."""
        for alias, folder in self._links.items():
            folder.mkdir(parents=True, exist_ok=True)
            if os.path.islink(alias) and os.readlink(alias) == str(folder):
                continue
            _PLACE.mkdir(parents=True, exist_ok=True)
            beside = f"{alias}.{os.urandom(4).hex()}"
            os.symlink(folder, beside)
            os.replace(beside, alias)
