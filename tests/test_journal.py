"""Results that are kept as they come survive a kill, and processes share the work."""

import errno
import fcntl
import json
import multiprocessing
import os

import pytest

from slowfast_ac.errors import InputError
from slowfast_ac.journal import Journal
from slowfast_ac.ranks import Rank, this_rank

SETTINGS = {"checkpoint": "a.pyth", "views": (10, 3)}
NAMES = [f"{number}.mp4" for number in range(7)]


def write_to(path):
    def write(entries):
        path.write_text(json.dumps([entry["video"] for entry in entries]))

    return write


def test_what_is_done_is_known_after_a_kill_and_half_a_line_is_not(tmp_path):
    output = tmp_path / "out.json"
    journal = Journal(output, SETTINGS, Rank())
    journal.add({"video": NAMES[3], "score": 0.5})
    journal.add({"video": NAMES[0], "error": "cut short"})
    journal.close()
    (path,) = journal.folder.glob("*.jsonl")
    with open(path, "a") as file:
        file.write('{"video": "1.mp4", "sco')
    again = Journal(output, SETTINGS, Rank())
    assert again.done == {NAMES[0], NAMES[3]}
    assert not again.finish(NAMES, write_to(output))
    assert not output.exists()
    assert again.todo(NAMES) == [name for name in NAMES if name not in (NAMES[0], NAMES[3])]
    for name in again.todo(NAMES):
        again.add({"video": name})
    assert again.finish(NAMES, write_to(output))
    assert json.loads(output.read_text()) == NAMES
    assert not again.folder.exists()


def test_results_of_other_settings_are_not_mixed(tmp_path):
    Journal(tmp_path / "out.json", SETTINGS, Rank()).close()
    Journal(tmp_path / "out.json", SETTINGS, Rank()).close()
    with pytest.raises(InputError, match=r"views \[10, 3\], which is \[1, 1\] now; delete it"):
        Journal(tmp_path / "out.json", {**SETTINGS, "views": (1, 1)}, Rank())


def test_two_processes_of_one_number_are_refused(tmp_path):
    journal = Journal(tmp_path / "out.json", SETTINGS, Rank())
    with pytest.raises(InputError, match=r"0-of-1.jsonl: another process writes to it"):
        Journal(tmp_path / "out.json", SETTINGS, Rank())
    journal.close()


def test_a_single_process_needs_no_locks(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    output = tmp_path / "out.json"
    journal = Journal(output, SETTINGS, Rank())
    for name in NAMES:
        journal.add({"video": name})
    assert journal.finish(NAMES, write_to(output))
    assert json.loads(output.read_text()) == NAMES
    with pytest.raises(
        InputError, match="cannot be locked .*Function not implemented.*--output on"
    ):
        Journal(output, SETTINGS, Rank(1, 2))


def test_stale_items_are_done_again(tmp_path):
    output = tmp_path / "out.json"
    journal = Journal(output, SETTINGS, Rank())
    for name in NAMES[:3]:
        journal.add({"video": name, "old": name == NAMES[1]})
    journal.forget(lambda entry: entry["old"])
    assert journal.todo(NAMES) == [NAMES[1], *NAMES[3:]]
    journal.close()


def test_an_item_whose_file_was_replaced_is_done_again(tmp_path):
    output, video = tmp_path / "out.json", tmp_path / "a.mp4"
    names = [str(video), "b.mp4"]
    video.write_text("one")
    journal = Journal(output, SETTINGS, Rank())
    for name in names:
        journal.add({"video": name})
    journal.close()
    video.write_text("another")
    again = Journal(output, SETTINGS, Rank())
    assert again.todo(names) == [str(video)]
    assert not again.finish(names, write_to(output))
    again.add({"video": str(video)})
    assert again.finish(names, lambda entries: output.write_text(json.dumps(list(entries))))
    assert json.loads(output.read_text()) == [{"video": name} for name in names]


def test_stale_items_of_other_processes_are_not_written(tmp_path):
    output = tmp_path / "out.json"
    first, second = (Journal(output, SETTINGS, Rank(number, 2)) for number in range(2))
    # In the file that is read last.
    second.add({"video": NAMES[0], "old": True})
    first.forget(lambda entry: "old" in entry)
    assert not first.finish(NAMES[:1], write_to(output))
    first.add({"video": NAMES[0], "score": 1})
    kept = []
    assert first.finish(NAMES[:1], lambda entries: kept.extend(entries))
    assert kept == [{"video": NAMES[0], "score": 1}]
    second.close()


def test_another_number_of_processes_goes_on(tmp_path):
    output = tmp_path / "out.json"
    first = Journal(output, SETTINGS, Rank(1, 3))
    for name in Rank(1, 3).share(NAMES):
        first.add({"video": name})
    first.close()
    alone = Journal(output, SETTINGS, Rank())
    assert alone.done == {NAMES[1], NAMES[4]}


def _work(output, number):
    rank = Rank(number, 8)
    journal = Journal(output, SETTINGS, rank)
    for name in rank.share(NAMES):
        journal.add({"video": name})
    return journal.finish(NAMES, write_to(output))


def test_of_processes_that_finish_at_once_one_writes_the_output(tmp_path):
    output = tmp_path / "out.json"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        written = pool.starmap(_work, [(output, number) for number in range(8)])
    assert any(written)
    assert json.loads(output.read_text()) == NAMES
    assert os.listdir(tmp_path) == ["out.json"]


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, Rank(0, 1, 0)),
        (
            {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
            Rank(3, 8, 1, 2),
        ),
        (
            {
                "SLURM_PROCID": "5",
                "SLURM_STEP_NUM_TASKS": "20",
                "SLURM_LOCALID": "1",
                "SLURM_STEP_TASKS_PER_NODE": "8(x2),4",
            },
            Rank(5, 20, 1, 8),
        ),
        # A script of sbatch that runs once, though it asked for 16 tasks.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "16", "SLURM_LOCALID": "0"}, Rank(0, 1, 0)),
    ],
)
def test_the_environment_says_which_process_this_is(environment, rank):
    assert this_rank(environment) == rank


def test_processes_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    assert Rank().cpus() == 64
    assert Rank(5, 16, 5, 8).cpus() == 8
    assert Rank(5, 200, 5, 100).cpus() == 1
    # Bound by srun.
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {4, 5, 6, 7}, raising=False)
    assert Rank(5, 16, 5, 8).cpus() == 4


def test_every_item_is_the_work_of_one_process():
    shares = [Rank(number, 3).share(NAMES) for number in range(3)]
    assert sorted(sum(shares, [])) == sorted(NAMES)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
