"""What a study is: its question, its flags, how it is measured, and its page for people."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_collections


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flag:
    """A flag of one study alone; its type is its default's."""

    name: str
    default: int | float | str | tuple[str, ...]
    help: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line asks for.

    Attributes:
      config_file: of `--config`; "" where the study has configs of its own.
      config: that file with its overrides; None where there is no file.
      overrides: `--config.field=value` as given, to be handed to every run.
      workdir: see `Study.workdir`.
      out: folder of the results; None to print them only.
      seeds: how many, from 0 on; None where the study takes none.
      own: the study's own flags by name.
      earlier: the result file that an earlier call wrote; {} if there is none.
    """

    config_file: str
    config: ml_collections.ConfigDict | None
    overrides: tuple[str, ...]
    workdir: Path
    out: Path | None
    seeds: int | None
    own: Mapping[str, Any]
    earlier: Mapping[str, Any]

    @property
    def known(self) -> Mapping[str, Any]:
        """The results of an earlier call, beside which new ones may be entered."""
        return self.earlier.get("results", {})

    @property
    def seed_dirs(self) -> list[Path]:
        """The work directory of each seed; the work directory itself for none."""
        return [self.workdir / f"seed{seed}" for seed in range(self.seeds or 0)] or [self.workdir]


def chosen_config(options: Options) -> object:
    """The config of `--config`, with its overrides."""
    return options.config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A study.

    Attributes:
      name: on the command line, and of its result files.
      doc: what it asks, in its first line; then how it is measured.
      run: yields its results, as JSON holds them, whenever there are more of them.
      to_markdown: those results for people.
      config: default of `--config`; "" where the study has configs of its own.
      workdir: default of `--workdir`: where the study keeps its runs, or the finished run that it
        reads.
      seeds: default of `--seeds`: of so many, each in a folder `seedN` of the work directory; 0 to
        read the work directory itself; None where the study takes none.
      flags: that no other study has.
      configs: all that is measured, as one value, for the digest in the result file.
    """

    name: str
    doc: str
    run: Callable[[Options], Iterator[Any]]
    to_markdown: Callable[[Any], str]
    config: str = ""
    workdir: str = ""
    seeds: int | None = None
    flags: tuple[Flag, ...] = ()
    configs: Callable[[Options], object] = chosen_config

    @property
    def title(self) -> str:
        """What it asks."""
        return self.doc.strip().splitlines()[0]
