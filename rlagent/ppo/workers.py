"""Places in processes of their own: both ends of the pipe, and what goes through it.

A message is a length and a safetensors file, one array of which is JSON: nothing is pickled. The
process ends when its pipe does, so that none is left behind, however the training ended.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any

import numpy as np
from safetensors.numpy import load, save

from rlagent import processes
from rlagent_envs.config import EnvConfig, config_from_dict
from rlagent_envs.saving import Arrays

LENGTH = 8  # bytes that say how long a message is
FACTS = "__facts__"  # the array that holds the JSON of a message
TERMINAL = "terminal"


class WorkerError(RuntimeError):
    """A worker has ended by itself, for instance because the system had no memory left for it."""


class Worker:
    """`Places` in another process, with the same methods."""

    def __init__(
        self, number: int, config: EnvConfig, seeds: Sequence[int | Sequence[int]], reward_rows: int
    ) -> None:
        self.number = number
        self.process = processes.start("rlagent.ppo.workers")
        facts = {"config": asdict(config), "seeds": list(seeds), "reward_rows": reward_rows}
        self._send("begin", facts | {"number": number})
        self._receive()

    def seed(self, seeds: Sequence[int | Sequence[int]]) -> None:
        """As `Places.seed`."""
        self._send("seed", list(seeds))
        self._receive()

    def reset(self) -> Any:
        """As `Places.reset`."""
        self._send("reset")
        return self.receive()

    def send(self, actions: np.ndarray) -> None:
        """Begins with a decision in each place; `receive` waits for its end."""
        self._send("step", None, {"actions": np.asarray(actions)})

    def receive(self) -> Any:
        """As `Places.receive`."""
        return _turn(*self._receive())

    def save(self) -> tuple[Arrays, list[dict[str, Any]]]:
        """As `Places.save`."""
        self._send("save")
        return self._receive()

    def load(self, arrays: Arrays, facts: list[dict[str, Any]]) -> Any:
        """As `Places.load`."""
        self._send("load", facts, arrays)
        return self.receive()

    def close(self) -> None:
        """Ends the process, in the middle of a decision too: it has nothing to lose."""
        processes.end(self.process)

    def _send(self, call: str, facts: Any = None, arrays: Mapping[str, Any] | None = None) -> None:
        if self.process.stdin is None:
            raise RuntimeError(f"worker {self.number} has no pipe")
        try:
            write_message(self.process.stdin, arrays or {}, {"call": call, "facts": facts})
        except BrokenPipeError as error:
            raise WorkerError(self._ended()) from error

    def _receive(self) -> tuple[Arrays, Any]:
        message = None if self.process.stdout is None else read_message(self.process.stdout)
        if message is None:
            raise WorkerError(self._ended())
        return message

    def _ended(self) -> str:
        return f"worker {self.number} has ended with status {self.process.wait()}"


def write_message(stream: IO[bytes], arrays: Mapping[str, Any], facts: Any) -> None:
    """Writes arrays and JSON facts as one message."""
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    dense = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = save(dense | {FACTS: text})
    stream.write(len(content).to_bytes(LENGTH, "little"))
    stream.write(content)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[Arrays, Any] | None:
    """The next message, or None if the other end is closed."""
    length = int.from_bytes(stream.read(LENGTH), "little")
    content = stream.read(length)
    if not content or len(content) < length:
        return None
    arrays = load(content)
    return arrays, json.loads(arrays.pop(FACTS).tobytes())


def _turn_message(turn: Any) -> tuple[Arrays, Any]:
    """A turn as arrays and facts; the last observations of episodes are among the arrays."""
    arrays = {name: value for name, value in turn._asdict().items() if name != "infos"}
    infos = []
    for number, info in enumerate(turn.infos):
        last = info.get("terminal_observation", {})
        arrays |= {f"{TERMINAL}/{number}/{name}": value for name, value in last.items()}
        infos.append({name: v for name, v in info.items() if name != "terminal_observation"})
    return arrays, infos


def _turn(arrays: Arrays, infos: list[dict[str, Any]]) -> Any:
    from rlagent.ppo.places import Turn

    for name in [name for name in arrays if name.startswith(TERMINAL)]:
        _, number, part = name.split("/")
        infos[int(number)].setdefault("terminal_observation", {})[part] = arrays.pop(name)
    return Turn(**arrays, infos=infos)


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Does what the other end asks for, until it is gone."""
    from rlagent.ppo.places import Places

    first = read_message(requests)
    if first is None:
        return
    told = first[1]["facts"]
    processes.take_core(told["number"])
    config = config_from_dict(told["config"])
    places = Places(config, told["seeds"], told["reward_rows"])
    write_message(answers, {}, None)
    while (message := read_message(requests)) is not None:
        arrays, request = message
        match request["call"]:
            case "seed":
                places.seed(request["facts"])
                write_message(answers, {}, None)
            case "reset":
                write_message(answers, *_turn_message(places.reset()))
            case "step":
                places.send(arrays["actions"])
                write_message(answers, *_turn_message(places.receive()))
            case "save":
                write_message(answers, *places.save())
            case "load":
                write_message(answers, *_turn_message(places.load(arrays, request["facts"])))
            case other:
                raise ValueError(f"unknown call {other!r}")


def main() -> None:
    """A worker's process."""
    from rlagent.apply.devices import use_compile_cache

    processes.leave_interrupts()
    # What anything prints would get in between the messages.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    use_compile_cache()
    with suppress(BrokenPipeError):  # the training is gone
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
