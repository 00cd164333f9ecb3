"""Measures captions a second, latencies and memory: `python -m bench KIND`; `--help` lists the kinds."""

import argparse
import asyncio
import json
import platform
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench import autoscaling, engine, hostile, http, load, memory, mixed, overload
from bench.figures import HEADER, Figures


def main() -> None:
    """Measure, print a table and write the figures as JSON."""
    arguments = _parser().parse_args()
    if arguments.kind == "load":
        _print_loading(arguments.gigabytes, arguments.times)
        return
    if arguments.kind == "memory":
        _print_memory(arguments)
        return
    if arguments.kind == "autoscaling":
        print(autoscaling.table())
        return
    if arguments.kind == "overload":
        flood = overload.measure(
            arguments.url,
            clients=arguments.clients,
            crowd=arguments.crowd,
            seconds=arguments.seconds,
            count=arguments.count,
            seed=arguments.seed,
        )
        print(overload.HEADER)
        for outcome in asyncio.run(flood):
            print(outcome.row)
        return
    if arguments.kind == "engine":
        found = engine.measure(arguments.seed, count=arguments.count)
    elif arguments.kind == "pairs":
        found = engine.measure_pairs(arguments.seed, count=arguments.count)
        ratios = [ours.rate / static.rate for static, ours in zip(found[::2], found[1::2], strict=True)]
        print(f"engine over static batches: {', '.join(f'{one:.2f}' for one in ratios)}", end="; ")
        print(f"median {median(ratios):.2f}")
    elif arguments.kind == "hostile":
        found, statuses = asyncio.run(
            hostile.measure(arguments.url, count=arguments.count, seed=arguments.seed)
        )
        print(hostile.verdict(found, statuses))
    elif arguments.kind == "mixed":
        found = (
            asyncio.run(
                mixed.measure_http(
                    arguments.url, model=arguments.model, seed=arguments.seed, count=arguments.count
                )
            )
            if arguments.url
            else mixed.measure(arguments.seed, count=arguments.count)
        )
    else:
        found = asyncio.run(
            http.measure(
                arguments.url,
                model=arguments.model,
                loads=arguments.clients,
                count=arguments.count,
                seed=arguments.seed,
                same=arguments.same,
            )
        )
    report(found, arguments.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the images; new ones by default"
    )
    parser.add_argument("--count", type=int, default=640, help="images of each load")
    parser.add_argument("--out", type=Path, help="file for the figures as JSON")
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("engine", help="the engine alone, compared with static batches of generate")
    kinds.add_parser("pairs", help="the engine and static batches of 64 in turn, eight times")
    pair = kinds.add_parser("mixed", help="short requests alone, then alongside a long one")
    pair.add_argument("url", nargs="?", help="chat completions of a running server; default: an engine")
    pair.add_argument("--model", default="embedded")
    watched = kinds.add_parser("memory", help="the memory of the replica of a server that runs")
    watched.add_argument("url", nargs="?", default="http://127.0.0.1:8000/caption")
    watched.add_argument("--engine", action="store_true", help="of an engine alone instead, in this process")
    attacked = kinds.add_parser("hostile", help="a server that runs, among hostile requests")
    attacked.add_argument("url", nargs="?", default="http://127.0.0.1:8000/caption")
    kinds.add_parser("autoscaling", help="a simulation of what to scale on")
    flooded = kinds.add_parser("overload", help="a server that runs, with more requests than it can answer")
    flooded.add_argument("url", nargs="?", default="http://127.0.0.1:8000/caption")
    flooded.add_argument("--clients", type=int, default=64, help="of the load that gives the peak")
    flooded.add_argument("--crowd", type=int, default=600, help="clients of the overload")
    flooded.add_argument("--seconds", type=float, default=10.0, help="of each load")
    served = kinds.add_parser("http", help="a server that runs")
    served.add_argument("url", nargs="?", default="http://127.0.0.1:8000/caption")
    served.add_argument("--model", default="embedded", help="for an address of OpenAI's API")
    served.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    served.add_argument("--same", action="store_true", help="send one image again and again")
    cold = kinds.add_parser("load", help="a checkpoint from the disk to memory, compared with cat")
    cold.add_argument("--gigabytes", type=float, default=4.0, help="size of the checkpoint")
    cold.add_argument("--times", type=int, default=5, help="pairs of readings")
    return parser


def _print_memory(arguments: argparse.Namespace) -> None:
    """Print the memory after each number of requests."""
    watching = (
        memory.measure_engine(steps=memory.STEPS, seed=arguments.seed)
        if arguments.engine
        else memory.measure(arguments.url, steps=memory.STEPS, seed=arguments.seed)
    )
    for row in asyncio.run(watching):
        print(row.row)


def _print_loading(gigabytes: float, times: int) -> None:
    """Print each pair of readings of a checkpoint that is written for it."""
    with TemporaryDirectory() as directory:
        size = int(gigabytes * load.GIBIBYTE)
        for loading in load.measure(Path(directory), size=size, times=times):
            print(loading, flush=True)


def report(found: list[Figures], out: Path | None) -> None:
    """Print the table; write it as JSON with machine and date where a file is named."""
    print(HEADER)
    for figures in found:
        print(figures.row)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        where = {"machine": platform.platform(), "date": time.strftime("%Y-%m-%d")}
        out.write_text(json.dumps({**where, "figures": [figures.json for figures in found]}, indent=1))


if __name__ == "__main__":
    main()
