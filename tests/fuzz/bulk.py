"""Millions of fuzzed frames: nothing crashes, hangs or grows.

``python -m tests.fuzz.bulk [--frames N] [--sidecar N]`` feeds frames to the sidecar's reader,
decoder and gatekeeper in this process, and a smaller number to real sidecar processes.  Most fuzzed
frames end a connection at once, so the real ones mostly get frames that a connection survives,
and now and then one that it doesn't; then the next sidecar is started.  It prints rates and sizes,
and ends with status 1 where something isn't as it must be.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec
from tests.support.sidecar import Sidecar

from keyless.protocol.frames import MAX_FRAME, FrameReader, ProtocolError, encode, request_reader
from keyless.protocol.messages import (
    Cancel,
    Credit,
    Exec,
    Hello,
    Request,
    StatusQuery,
    Stdin,
)
from keyless_sidecar.dispatch import Gatekeeper, Violation
from keyless_sidecar.flow import Flow, FlowError

MIB = 1 << 20
_TAGS = ("hello", "exec", "stdin", "cancel", "credit", "status?", "started", "output", "", "x")
_KEYS = ("id", "tool", "argv", "version", "data", "size", "credentials", "timeout", "cell", "cwd")


class Frames:
    """Makes fuzzed frames, quickly: right ones, nearly right ones, damaged ones and noise."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._id = 0

    def next_id(self) -> int:
        """An id that may come now."""
        self._id += self._random.randint(1, 3)
        return self._id

    def restart(self) -> None:
        """A new connection begins."""
        self._id = 0

    def good(self) -> Request:
        """A message that a connection survives."""
        pick, known = self._random.randrange(10), self._id
        if pick < 3 or not known:
            return StatusQuery(id=self.next_id())
        if pick < 5:
            words = [self.text() for _ in range(self._random.randrange(5))]
            return Exec(id=self.next_id(), tool=self.text() or "x", argv=words, dry_run=True)
        if pick < 6:
            return Exec(id=self.next_id(), tool="leaky", argv=[self.text()], dry_run=True)
        if pick < 8:
            return Cancel(id=self._random.randint(1, known))
        return Credit(
            id=self._random.randint(1, known),
            size=self._random.choice([1, 2**31, self._random.randint(1, 2**31)]),
        )

    def text(self) -> str:
        """Some characters of any kind."""
        return "".join(
            chr(self._random.choice([self._random.randrange(128), self._random.randrange(0xD800)]))
            for _ in range(self._random.randrange(8))
        )

    def fuzzed(self) -> bytes:
        """A frame of any kind."""
        pick = self._random.randrange(12)
        if pick < 4:
            return encode(self.good())
        if pick < 6:
            return self._damaged(encode(self.good()))
        if pick < 9:
            fields = {
                key: self._scalar()
                for key in self._random.sample(_KEYS, self._random.randrange(len(_KEYS)))
            }
            return self._framed(
                msgspec.msgpack.encode({"type": self._random.choice(_TAGS), **fields})
            )
        if pick < 10:
            return self._framed(self._random.randbytes(self._random.randrange(1, 64)))
        if pick < 11:  # deeply nested
            return self._framed(self._random.choice((b"\x91", b"\x81\xa1x")) * 2000)
        size = self._random.choice((0, 1, MAX_FRAME, MAX_FRAME + 1, 2**32 - 1))
        return struct.pack(">I", size) + self._random.randbytes(8)

    def _damaged(self, frame: bytes) -> bytes:
        data = bytearray(frame)
        for _ in range(self._random.randint(1, 3)):
            data[self._random.randrange(len(data))] = self._random.randrange(256)
        return bytes(data)

    def _scalar(self) -> object:
        return self._random.choice(
            (None, True, 0, 1, -1, 2**53, 2**64 - 1, 1.5, "x", b"x", [], ["x"], {}, {"x": 1})
        )

    def _framed(self, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + body


def resident() -> int:
    """Bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def in_process(count: int, seed: int) -> int:
    """Feed the sidecar's end of the channel; returns how many bytes it grew by."""
    frames = Frames(seed)
    ends: Counter[str] = Counter()
    begin, done, slowest = time.monotonic(), 0, 0.0
    sizes: list[int] = []
    while done < count:
        reader: FrameReader[Request] = request_reader()
        keeper, flows = Gatekeeper(), dict[int, Flow]()
        frames.restart()
        data = encode(Hello(version=1))
        try:
            while done < count:
                started = time.perf_counter()
                for message in reader.feed(data):
                    keeper.admit(message)
                    if isinstance(message, Exec) and len(flows) < 16:
                        flows[message.id] = Flow(message)
                    elif isinstance(message, Stdin) and message.id in flows:
                        flows[message.id].feed_stdin(message.data)
                slowest = max(slowest, time.perf_counter() - started)
                done += 1
                data = frames.fuzzed()
        except (ProtocolError, Violation, FlowError) as error:
            ends[type(error).__name__] += 1
            done += 1
        finally:
            for flow in flows.values():
                flow.close()
        if done * 10 >= count * (len(sizes) + 1):
            sizes.append(resident())
    seconds = time.monotonic() - begin
    grown = resident() - sizes[0]
    print(
        f"in process: {done} frames on {ends.total()} connections in {seconds:.0f} s "
        f"({done / seconds:.0f} a second), slowest frame {slowest * 1000:.1f} ms, "
        f"grown by {grown / MIB:.2f} MiB; ended by {dict(ends)}; MiB at each tenth: "
        + " ".join(f"{size / MIB:.1f}" for size in sizes)
    )
    return grown


def real_sidecars(count: int, seed: int, chance: float = 0.0001) -> tuple[int, list[str]]:
    """Feed real sidecars.

    Args:
        count: frames in all.
        seed: of the frames.
        chance: of a frame of any kind instead of one that a connection survives.

    Returns:
        The largest growth of one, and what went wrong.
    """
    frames, wrong = Frames(seed), list[str]()
    rand = random.Random(seed)
    begin, done, starts, growth, largest = time.monotonic(), 0, 0, 0, 0
    while done < count and not wrong:
        home = Path(tempfile.mkdtemp(prefix="kl-"))
        home.chmod(0o755)
        sidecar = Sidecar(home)
        starts += 1
        try:
            sidecar.hello()
            frames.restart()
            sent, first = 0, 0
            while done < count:
                batch = [frames.good() for _ in range(20)]
                last = StatusQuery(id=frames.next_id())
                fuzz = frames.fuzzed() if rand.random() < chance * 20 else b""
                raw = b"".join(encode(message) for message in batch) + encode(last)
                done += len(batch) + 1 + bool(fuzz)
                sent += len(batch) + 1
                sidecar.channel.sendall(raw)
                _drain(sidecar, last.id)
                if fuzz:
                    with contextlib.suppress(OSError):
                        sidecar.channel.sendall(fuzz)
                        if not _alive(sidecar, frames.next_id()):
                            break
                memory = sidecar.memory()
                largest = max(largest, memory)
                first = first or (memory if sent > 500 else 0)
                growth = max(growth, memory - first if first else 0)
        except EOFError:
            pass
        except TimeoutError:
            wrong.append("a sidecar did not answer within a minute")
        finally:
            sidecar.channel.close()
            code = sidecar.wait()
            if code not in (0, 3):
                wrong.append(f"a sidecar ended with status {code}")
            if "Traceback" in sidecar.log():
                wrong.append(f"a sidecar crashed: {sidecar.log()[-500:]}")
            sidecar.close()
            shutil.rmtree(home, ignore_errors=True)
    seconds = time.monotonic() - begin
    print(
        f"real sidecars: {done} frames to {starts} processes in {seconds:.0f} s "
        f"({done / seconds:.0f} a second), largest {largest / MIB:.1f} MiB, grown by at most "
        f"{growth / MIB:.2f} MiB after the first 500"
    )
    return growth, wrong


def _drain(sidecar: Sidecar, last: int) -> None:
    """Read until the answer to ``last``."""
    while getattr(sidecar.receive(), "id", 0) != last:
        pass


def _alive(sidecar: Sidecar, number: int) -> bool:
    """Whether the connection is still there after a fuzzed frame (or a part of one)."""
    try:
        sidecar.channel.sendall(encode(StatusQuery(id=number)))
        sidecar.channel.settimeout(2)
        _drain(sidecar, number)
    except TimeoutError:
        return False  # it waits for the rest of a frame: close it
    except (EOFError, OSError):
        return False
    finally:
        sidecar.channel.settimeout(60)
    return True


def main() -> int:
    """Run both parts."""
    parser = argparse.ArgumentParser(description="fuzzed frames in bulk")
    parser.add_argument("--frames", type=int, default=10_000_000)
    parser.add_argument("--sidecar", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    wrong = []
    if options.frames and in_process(options.frames, options.seed) > 4 * MIB:
        wrong.append("the sidecar's end of the channel grew")
    sys.stdout.flush()
    if options.sidecar:
        growth, found = real_sidecars(options.sidecar, options.seed)
        wrong += found
        if growth > 8 * MIB:
            wrong.append("a sidecar grew")
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
