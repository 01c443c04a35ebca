"""``slowfast-ac check-data``: finds the bad lines and videos of a list."""

import argparse

SHOWN_NOTES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("list", metavar="LIST", help="train.csv, val.csv or test.csv")
    parser.add_argument("--num-classes", type=int, metavar="N", help="MODEL.NUM_CLASSES")
    parser.add_argument(
        "--classes", metavar="FILE", help="classes.json: labels must fit the class folders"
    )
    parser.add_argument(
        "--frames", type=int, metavar="N", help="DATA.NUM_FRAMES: reject videos shorter than a clip"
    )
    parser.add_argument(
        "--rate", type=int, metavar="R", help="DATA.SAMPLING_RATE, with --frames (default 1)"
    )
    parser.add_argument("--prefix", default="", metavar="P", help="DATA.PATH_PREFIX")
    parser.add_argument("--separator", default=" ", metavar="S", help="DATA.PATH_LABEL_SEPARATOR")
    parser.add_argument("--write-clean", metavar="FILE", help="write the good lines here")
    parser.add_argument(
        "--report",
        metavar="FILE.csv",
        help="write all findings here; run again to continue a stopped check",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: CPU cores)")


def main(args: argparse.Namespace) -> int:
    """Checks the list; the exit status is 1 if it has bad lines."""
    from slowfast_ac.cli.arguments import tell_unfinished
    from slowfast_ac.data.class_map import read_class_map
    from slowfast_ac.data.datasets.check import check_videos
    from slowfast_ac.errors import InputError
    from slowfast_ac.ranks import this_rank

    rank = this_rank()
    if args.rate and not args.frames:
        raise InputError("--rate: has no meaning without --frames")
    shown_notes = 0

    def tell(finding) -> None:
        nonlocal shown_notes
        note = ""
        if finding.severity == "note":
            shown_notes += 1
            note = "note: "
        if not note or shown_notes <= SHOWN_NOTES:
            # Flushed, so that a stopped check has printed its findings.
            print(f"line {finding.line}: {note}{_described(finding)}", flush=True)

    report = check_videos(
        args.list,
        separator=args.separator,
        prefix=args.prefix,
        num_classes=args.num_classes,
        classes=read_class_map(args.classes) if args.classes else None,
        clip_frames=args.frames * (args.rate or 1) if args.frames else None,
        workers=args.workers,
        tell=tell,
        report=args.report,
        rank=rank,
    )
    if report is None:
        tell_unfinished(rank, args.report)
        return 0
    if len(report.notes) > SHOWN_NOTES:
        print(f"and {len(report.notes) - SHOWN_NOTES} more notes; --report FILE.csv has them all")
    bad = len(report.lines) - len(report.good_lines)
    print(f"{args.list}: {len(report.lines)} lines, {bad} bad, {len(report.notes)} notes")
    if args.report:
        print(f"wrote {args.report}")
    if args.write_clean:
        report.write_clean(args.write_clean)
        print(f"wrote {args.write_clean}: {len(report.good_lines)} lines")
    return 1 if bad else 0


def _described(finding) -> str:
    # These reasons name the video or the line already.
    if finding.kind in ("line", "unreadable"):
        return finding.reason
    return f"{finding.path}: {finding.reason}"
