"""``slowfast-ac configs``: the configs and suites that come with the package."""

import argparse
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "configs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "name",
        nargs="?",
        help="config or suite to copy, for example Kinetics/SLOWFASTAC_4x16_R50.yaml "
        "(default: list them all)",
    )
    parser.add_argument(
        "--output",
        default="configs",
        metavar="DIR",
        help="folder for the copy and the configs it builds on (default: configs)",
    )


def main(args: argparse.Namespace) -> None:
    """Lists the configs, or copies one with those that it builds on."""
    if args.name is None:
        names = [path.relative_to(FOLDER).as_posix() for path in sorted(FOLDER.rglob("*.yaml"))]
        width = max(map(len, names))
        for name in names:
            print(f"{name:{width}}  {_title(FOLDER / name)}")
        return
    for path in copy_config(args.name, args.output):
        print(f"wrote {path}")


def copy_config(name: str, output: str | Path) -> list[Path]:
    """Copies a config or suite, and the configs it builds on, so that the copy works by itself.

    Args:
        name: relative to the package's configs; ``configs/`` before it and ``.yaml`` after it may
            be left out.
        output: folder that gets them, under the same relative names.

    Returns:
        The files that were written, without those that already had the same content.

    Raises:
        InputError: for an unknown name, or a different file of that name in the folder.
    """
    from slowfast_ac.errors import InputError
    from slowfast_ac.files import write_text

    sources = list(dict.fromkeys(_with_bases(_find(name))))
    copies = [Path(output) / source.relative_to(FOLDER) for source in sources]
    texts = [source.read_text(encoding="utf-8") for source in sources]
    for copy, text in zip(copies, texts, strict=True):
        if copy.exists() and copy.read_text(encoding="utf-8") != text:
            raise InputError(f"{copy}: exists and differs; choose another --output or remove it")
    missing = [pair for pair in zip(copies, texts, strict=True) if not pair[0].exists()]
    for copy, text in missing:
        write_text(copy, text)
    return [copy for copy, _ in missing]


def _find(name: str) -> Path:
    import difflib

    from slowfast_ac.errors import InputError

    known = {path.relative_to(FOLDER).as_posix(): path for path in sorted(FOLDER.rglob("*.yaml"))}
    wanted = name.removeprefix("configs/").removesuffix(".yaml") + ".yaml"
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.0)[0]
        raise InputError(f"{name}: no such config; did you mean {near}? (slowfast-ac configs)")
    return known[wanted]


def _with_bases(path: Path) -> Iterator[Path]:
    """Yields a config, then each config that it builds on."""
    import yaml

    yield path
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in ("_BASE_", "base"):  # of a config, of a suite
        if key in data:
            yield from _with_bases((path.parent / data[key]).resolve())


def _title(path: Path) -> str:
    """Returns the comment in a config's first line."""
    with open(path, encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()
