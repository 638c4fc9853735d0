"""Deliberate bugs: the text that each replaces, the promise it breaks and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass

POWER = "tests/crash/test_powerloss.py::test_what_was_acknowledged_outlives_a_power_loss"
DELIVERY = "tests/test_deliver.py::test_a_crash_anywhere_in_a_delivery_loses_and_repeats_nothing"


@dataclass(frozen=True)
class Mutant:
    """One bug."""

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = [
    Mutant(
        "a worker's death is not noticed",
        "I1", "leader.py",
        "found = settle(one.gen, now, policy, alive=self.view.alive(one.gen.worker))",
        "found = settle(one.gen, now, policy, alive=True)",
        "tests/test_leader.py",
    ),
    Mutant(
        "a segment that was damaged is read no further than the damage",
        "I1", "view.py",
        "if not source.dead or not source.reader.skip_damage():",
        "if True:",
        "tests/test_ledger.py::test_damage_in_a_dead_segment_is_set_aside_and_the_rest_is_delivered",
    ),
    Mutant(
        "what was written and not committed is taken without looking for its id",
        "I2", "ledger.py",
        "                    if not index.is_delivered(id_):\n                        restore.record(record)\n",
        "                    restore.record(record)\n",
        "tests/test_ledger.py::test_a_history_that_was_brought_back_from_a_copy_is_counted_once",
    ),
    Mutant(
        "an event of a delivered generation opens it anew",
        "I2", "leader.py",
        "        return id_ in self._known_done\n",
        "        return False\n",
        f"{DELIVERY} tests/test_replay.py",
    ),
    Mutant(
        "the index is committed before the lines are written",
        "I5", "deliver.py",
        "        places = self.ledger.append(plan)\n        with self.index.transaction():\n"
        "            self.ledger.commit(plan, places)\n",
        "        with self.index.transaction():\n            self.ledger.commit(plan, {})\n"
        "        self.ledger.append(plan)\n",
        DELIVERY,
    ),
    Mutant(
        "a late verdict changes what was withheld",
        "I5", "verdicts.py",
        "if not verdict.feedback.said or row.outcome in _CLOSED:",
        "if not verdict.feedback.said:",
        "tests/test_model.py",
    ),
    Mutant(
        "a torn tail of a line file stays",
        "I3", "ledger.py",
        "            offset, torn = lines.cut_torn_tail()\n",
        '            offset, torn = 0, b""\n',
        "tests/test_ledger.py::test_a_torn_tail_of_the_history_is_cut_and_kept_aside_and_its_record_comes_again",
    ),
    Mutant(
        "a number that is none is written as it is",
        "I3", "scalars.py",
        "return value if math.isfinite(value) else None",
        "return value",
        "tests/test_scalars.py tests/test_sanitize.py tests/test_feedback.py",
    ),
    Mutant(
        "stages make a generation that never began",
        "I4", "fold.py",
        "return self.started is not None or self.root is not None",
        "return True",
        "tests/test_fold.py tests/test_replay.py",
    ),
    Mutant(
        "a segment is not synced",
        "I5", "chain.py",
        "            for writer in writers:\n                os.fdatasync(writer.fd)\n",
        "",
        POWER,
    ),
    Mutant(
        "the directory of segments is not synced",
        "I5", "chain.py",
        "            if self._folder is not None:\n                self._folder.sync()\n        except OSError:",
        "        except OSError:",
        POWER,
    ),
    Mutant(
        "the name of a new data_dir is not synced",
        "I5", "files.py",
        "            sync_names(path)\n",
        "            pass\n",
        POWER,
    ),
    Mutant(
        "lines are not synced before the index says that they are there",
        "I5", "lines.py",
        "                os.fdatasync(fd)\n            except OSError:",
        "            except OSError:",
        POWER,
    ),
    Mutant(
        "the new contents of a file are not synced before its name",
        "I5", "files.py",
        "                write_all(fd, data)\n                os.fsync(fd)\n",
        "                write_all(fd, data)\n",
        f"{POWER} tests/test_files.py",
    ),
    Mutant(
        "durable is said before the sync",
        "I5", "journal.py",
        "ticket <= (self._synced if self.full else self.chain.written)",
        "ticket <= self.chain.written",
        "tests/test_journal.py::test_an_event_is_durable_after_the_sync_only_and_before_it_in_the_process_mode",
    ),
    Mutant(
        "a descriptor is synced again after its sync has failed",
        "I5", "journal.py",
        "        self._poisoned = not self._rescue(self._synced)\n        return not self._poisoned\n",
        "        return False\n",
        "tests/test_journal.py::test_a_descriptor_whose_sync_failed_is_never_synced_again_and_its_events_move",
    ),
    Mutant(
        "staged bytes are not synced before their name",
        "I6", "stager.py",
        "                os.fsync(fd)\n",
        "                pass\n",
        POWER,
    ),
    Mutant(
        "the names of staged files are not synced",
        "I6", "stager.py",
        "            folder.sync()\n            job.name = name",
        "            job.name = name",
        POWER,
    ),
    Mutant(
        "the names of kept files are not synced before records name them",
        "I6", "deliver.py",
        "        self.store.sync()\n",
        "",
        POWER,
    ),
    Mutant(
        "staged files are swept without a look at who needs them",
        "I6", "leader.py",
        "        for name in self._staged_before - needed:\n",
        "        for name in self._staged_before:\n",
        "tests/test_store.py::test_staged_files_that_nothing_refers_to_are_swept tests/test_leader.py",
    ),
    Mutant(
        "a late rejection removes a file that another record refers to",
        "I6", "ledger.py",
        "            if self.index.at_path(path) is None:\n",
        "            if path:\n",
        "tests/test_store.py",
    ),
    Mutant(
        "what a deleted segment counted is forgotten",
        "I7", "recall.py",
        '        self._lines.append(b"".join(events.encode(row) + b"\\n" for row in rows))\n        for source',
        "        for source",
        "tests/test_ledger.py tests/test_metrics.py",
    ),
    Mutant(
        "an event counts again in the copy that was made of it",
        "I7", "view.py",
        "        if self._was_retired(source.worker, sequence) or not self._see(source.worker, sequence):\n"
        "            return False\n",
        "",
        "tests/test_journal.py tests/test_ledger.py tests/test_leader.py",
    ),
    Mutant(
        "a rotation that was cut short is not ended",
        "I8", "ledger.py",
        "        months.finish_intent(self._tree)\n",
        "",
        "tests/test_maintain.py::test_killed_before_any_step_everything_is_old_or_new_and_recovery_ends_it",
    ),
    Mutant(
        "a damaged index stops the start",
        "I8", "ledger.py",
        "            if indexes.temporary(error):\n                raise\n",
        "            raise\n",
        "tests/test_ledger.py::test_an_index_that_is_lost_or_damaged_comes_back_with_the_same_numbers_and_rows",
    ),
    Mutant(
        "what a call of capture raises goes on into the application",
        "I9", "guard.py",
        "of calls\n            self.faults.report(method.__qualname__, error)\n            return None\n",
        "of calls\n            self.faults.report(method.__qualname__, error)\n            raise\n",
        "tests/test_handles.py tests/test_hostile.py tests/test_runtime.py tests/test_stager.py",
    ),
    Mutant(
        "what a span's begin or end raises goes on into the application",
        "I9", "guard.py",
        "of steps\n            self.faults.report(method.__qualname__, error)\n            return None\n",
        "of steps\n            self.faults.report(method.__qualname__, error)\n            raise\n",
        "tests/test_handles.py tests/test_hostile.py tests/test_runtime.py tests/test_stager.py",
    ),
    Mutant(
        "what cannot be written is kept without bound",
        "I9", "backlog.py",
        "        if self.bytes + size > room:\n",
        "        if not size:\n",
        "tests/test_journal.py::test_what_finds_no_room_in_memory_is_lost_counted_and_said_so",
    ),
    Mutant(
        "artifacts take the last room of a disk",
        "I9", "room.py",
        "    return max(min(RESERVE, whole // _SHARE) - (free - more), 0)\n",
        "    return 0\n",
        "tests/test_room.py",
    ),
    Mutant(
        "the ballast is never given back",
        "I9", "leading.py",
        "            ballast.release(self._tree.dot)\n",
        "            pass\n",
        "tests/test_ballast.py",
    ),
    Mutant(
        "the exit waits as long as the disk takes",
        "I9", "waiting.py",
        "        until = time.monotonic() + self.capture.deadline\n",
        "        until = time.monotonic() + 60\n",
        "tests/test_handles.py::test_the_exit_waits_no_longer_than_its_deadline",
    ),
    Mutant(
        "a span that was sampled out makes no record",
        "I10", "exporter.py",
        "        trace_id, own, parent, flags = ids\n",
        "        trace_id, own, parent, flags = ids\n        if not flags & 1:\n            return 1\n",
        "tests/test_hostile.py",
    ),
    Mutant(
        "the mode of a file that was there is left as it is",
        "I11", "files.py",
        "                os.fchmod(fd, 0o600)\n",
        "                pass\n",
        "tests/test_files.py tests/test_store.py",
    ),
    Mutant(
        "a link in the place of a file is followed",
        "I11", "files.py",
        "_PLAIN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK",
        "_PLAIN = os.O_CLOEXEC | os.O_NONBLOCK",
        "tests/test_files.py",
    ),
    Mutant(
        "the application's spans show content",
        "I12", "capture.py",
        "self.marked = everything if whole else marked\n",
        "self.marked = everything\n",
        "tests/test_tracing.py::test_no_content_leaves_unless_it_is_switched_on",
    ),
    Mutant(
        "any name of a stage is a label",
        "I12", "aggregate.py",
        " or len(names) >= _LIMIT:",
        ":",
        "tests/test_metrics.py::test_labels_come_from_closed_sets_whatever_is_said",
    ),
    Mutant(
        "durations go by the wall clock",
        "I13", "scope.py",
        "        return self.start_wall + max(self.capture.clock.boot() - self.start_boot, 0)\n",
        "        return self.capture.clock.wall()\n",
        "tests/test_clock_jumps.py",
    ),
    Mutant(
        "waits within a boot go by the wall clock",
        "I13", "settle.py",
        "        if boot and not self.fixed and boot_id == self.boot_id:\n",
        "        if not boot:\n",
        "tests/test_settle.py::test_waits_go_by_boot_time_within_a_boot_and_by_wall_time_across",
    ),
]  # fmt: skip
