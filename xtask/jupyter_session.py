"""Runs lessons in the Rust kernel, cell by cell, each lesson from a fresh kernel.

usage: jupyter_session.py check|pictures|save|latency NAME …   run notebooks of the current folder

`pictures` checks those that open the data set of CAPTIONLAB_DATA, on a few picture files that are written for them.

nbclient judges a cell by its status alone, and evcxr calls a cell that panicked "ok"; so this looks at standard error too.
"""

import contextlib
import os
import re
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager

CELL_LIMIT = float(os.environ.get("CAPTIONLAB_CELL_LIMIT", 1200))
START_LIMIT = 120
LARGEST_NOTEBOOK = 4_000_000
# What shows itself as a picture or a table, so that its absence is noticed.
SHOWN = ("image/png", "image/gif", "text/html")


# Scenes, but as files they are taken for photographs.
WRITE_PICTURES = """
let few = captionlab::data::ScenesConfig { train: 48, validation: 8, test: 8, seed: 1 };
captionlab::data::scenes::export(&few, std::env::var("CAPTIONLAB_DATA").unwrap(), |_, _| ())?;
"""


class LessonFailed(Exception):
    """A cell did not do what it should; the text says which and why."""


class Session:
    """A kernel of its own, and how long it took to start."""

    def __init__(self, folder="."):
        start = time.perf_counter()
        self.manager = KernelManager(kernel_name="captionlab")
        # What the kernel itself says (cells speak through its channels) is of use only when something went wrong.
        self.log = tempfile.TemporaryFile("w+")
        # As in JupyterLab, the kernel works in the folder of its notebook.
        self.manager.start_kernel(cwd=os.path.abspath(folder), stdout=self.log, stderr=self.log)
        self.client = self.manager.client()
        self.client.start_channels()
        try:
            self.client.wait_for_ready(timeout=START_LIMIT)
        except RuntimeError as error:
            said = self.said()
            self.stop()
            raise LessonFailed(f"the kernel did not start: {error}. Run: cargo xtask doctor\n{said}") from error
        except BaseException:
            # Asked to end while it waits.
            self.stop()
            raise
        self.seconds_to_start = time.perf_counter() - start

    def stop(self):
        group = self.manager.provisioner.pid
        self.manager.shutdown_kernel(now=True)
        # The compiler that it may have started goes with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        self.client.stop_channels()
        self.log.close()

    def said(self):
        """The last lines that the kernel itself wrote."""
        self.log.seek(0)
        return "".join(self.log.readlines()[-30:])

    def run(self, source, limit=CELL_LIMIT):
        """Runs a cell for at most `limit` seconds: (outputs, status of the reply, seconds)."""
        start = time.perf_counter()
        request = self.client.execute(source, store_history=True, stop_on_error=True)
        outputs = []
        while True:
            left = limit - (time.perf_counter() - start)
            try:
                message = self.client.get_iopub_msg(timeout=max(left, 0.01))
            except Exception as error:
                raise LessonFailed(f"no end after {limit:.0f} s") from error
            if message["parent_header"].get("msg_id") != request:
                continue
            kind = message["msg_type"]
            if kind == "status" and message["content"]["execution_state"] == "idle":
                break
            if kind in ("stream", "display_data", "execute_result", "error"):
                outputs.append(nbformat.v4.output_from_msg(message))
        reply = self.client.get_shell_msg(timeout=60)
        while reply["parent_header"].get("msg_id") != request:
            reply = self.client.get_shell_msg(timeout=60)
        return outputs, reply["content"]["status"], time.perf_counter() - start

    def seconds_since_compiled(self):
        """Seconds since the last cell's library was written: the time that the cell itself ran. None where unknown."""
        root = os.environ.get("CAPTIONLAB_KERNEL_BUILDS")
        libraries = Path(root or "/nowhere", f"kernel-{self.manager.provisioner.pid}").glob("target/*/debug/libcode_*.*")
        newest = max((library.stat().st_mtime for library in libraries), default=None)
        return None if newest is None else max(0.0, time.time() - newest)


def text_of(outputs, stream):
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream" and output["name"] == stream)


def problem_of(outputs, status):
    """What went wrong in a cell, or None."""
    for output in outputs:
        if output["output_type"] == "error":
            trace = "\n".join(output.get("traceback") or [output.get("evalue", "")])
            return re.sub(r"\x1b\[[0-9;]*m", "", trace)
    stderr = text_of(outputs, "stderr").strip()
    if stderr:
        return "on standard error:\n" + stderr
    for output in outputs:
        data = output.get("data", {})
        # evcxr falls back to Debug when the last expression moves a variable, and shows `()` for a last loop.
        if output["output_type"] == "execute_result" and not any(kind in data for kind in SHOWN):
            text = data.get("text/plain", "")
            return (
                f"shows a value as plain text, `{text[:60]}`: print it, end the cell with `;`, "
                "or move no variable in the last expression (build what it borrows in a `let` before)"
            )
    return None if status == "ok" else f"the kernel answered `{status}`"


def shown(outputs):
    """How many pictures and tables of each kind a cell shows."""
    counts = {}
    for output in outputs:
        for kind in SHOWN:
            if kind in output.get("data", {}):
                counts[kind] = counts.get(kind, 0) + 1
    return counts


def merge_streams(outputs):
    """One output for text that came in several pieces."""
    merged = []
    for output in outputs:
        if merged and output["output_type"] == "stream" == merged[-1]["output_type"] and output["name"] == merged[-1]["name"]:
            merged[-1]["text"] += output["text"]
        else:
            merged.append(output)
    return merged


def with_alternative(output):
    """Tells notebook programs the text alternative of a picture: our figures send it as their plain text."""
    data = output.get("data", {})
    for kind in ("image/png", "image/gif"):
        if kind in data and "text/plain" in data:
            output["metadata"] = {kind: {"alt": data["text/plain"]}, **output.get("metadata", {})}
    return output


def run_lesson(name, mode):
    """Runs a notebook; the seconds of each of its code cells."""
    path = Path(name + ".ipynb")
    notebook = nbformat.read(path, as_version=4)
    session = Session(path.parent)
    timings = []
    try:
        number = 0
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            number += 1
            where = f"notebooks/{path}, code cell {number} (cell {index + 1}): `{cell.source.strip().splitlines()[0][:80]}`"
            try:
                outputs, status, seconds = session.run(cell.source)
            except LessonFailed as error:
                raise LessonFailed(f"{where}\n{error}\n{session.said()}") from error
            ran = session.seconds_since_compiled()
            problem = problem_of(outputs, status)
            if problem:
                raise LessonFailed(f"{where}\n{problem}")
            outputs = [with_alternative(output) for output in merge_streams(outputs)]
            if mode in ("check", "pictures"):
                if cell.get("execution_count") is None:
                    raise LessonFailed(f"{where}\nhas never been run and stored. Run: cargo xtask lessons --save {name}")
                expected, got = shown(cell.outputs), shown(outputs)
                missing = [kind for kind, count in expected.items() if got.get(kind, 0) < count]
                if missing:
                    raise LessonFailed(f"{where}\nshows no {' and no '.join(missing)}, and did when it was stored")
            cell.outputs, cell.execution_count = outputs, number
            timings.append((number, cell.source, seconds, min(ran, seconds) if ran is not None else None))
    finally:
        session.stop()
    if mode == "save":
        notebook.metadata["kernelspec"] = {"name": "captionlab", "display_name": "Rust (captionlab)", "language": "rust"}
        notebook.metadata["language_info"] = {"name": "rust", "file_extension": ".rs", "mimetype": "text/rust"}
        text = nbformat.writes(notebook) + "\n"
        if len(text) > LARGEST_NOTEBOOK:
            raise LessonFailed(f"notebooks/{path} would be {len(text) / 1e6:.1f} MB with its outputs: draw smaller pictures")
        beside = path.with_suffix(".new")
        beside.write_text(text)
        beside.rename(path)
    return session.seconds_to_start, timings


def write_pictures():
    """Makes CAPTIONLAB_DATA a folder of a few pictures, always the same, so that their features are found again."""
    folder = Path(os.environ["CAPTIONLAB_KERNEL_BUILDS"], "pictures")
    shutil.rmtree(folder, ignore_errors=True)
    os.environ["CAPTIONLAB_DATA"] = str(folder)
    session = Session()
    try:
        for source in (':dep captionlab = { path = ".." }', WRITE_PICTURES):
            problem = problem_of(*session.run(source)[:2])
            if problem:
                raise LessonFailed(f"no pictures can be written to {folder}: {problem}")
    finally:
        session.stop()


def opens_data(name):
    """Whether a notebook opens the data set that a student may choose."""
    cells = nbformat.read(name + ".ipynb", as_version=4).cells
    return any(cell.cell_type == "code" and "Dataset::for_lessons()" in cell.source for cell in cells)


def print_latency(name, start, timings):
    print(f"\n{name}: kernel ready after {start:.1f} s, first cell answered after {start + timings[0][2]:.1f} s")
    print(f"{'cell':>5} {'wall s':>8} {'run s':>8}  code")
    for number, source, seconds, ran in timings:
        ran_text = "" if ran is None else f"{ran:8.2f}"
        print(f"{number:>5} {seconds:8.2f} {ran_text:>8}  {source.strip().splitlines()[0][:70]}")
    compile_seconds = [seconds - ran for _, _, seconds, ran in timings[1:] if ran is not None]
    if compile_seconds:
        print(f"median wait for a cell to compile: {statistics.median(compile_seconds):.2f} s, longest {max(compile_seconds):.2f} s")


def main():
    mode, names = sys.argv[1], sys.argv[2:]
    failures = []
    if mode == "pictures":
        names = [name for name in names if opens_data(name)]
        write_pictures()
    for name in names:
        begin = time.perf_counter()
        try:
            start, timings = run_lesson(name, mode)
            print(f"lesson {name}: {len(timings)} cells ran in {time.perf_counter() - begin:.1f} s", flush=True)
            if mode == "latency":
                print_latency(name, start, timings)
        except LessonFailed as error:
            failures.append(name)
            print(f"lesson {name} FAILED at {error}\n", flush=True)
    # A plain closing line, for people and for test reports.
    print(f"{len(names) - len(failures)} passed, {len(failures)} failed", flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    # Asked to end, it ends its kernel first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except LessonFailed as failure:
        sys.exit(f"{failure}")
