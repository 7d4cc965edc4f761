"""How many users a second Bascule serves, and how fast, beside other servers that do the same job.

    apt-get install nghttp2-client libnghttp2-dev g++ libgrpc++-dev protobuf-compiler protobuf-compiler-grpc
    python3 -m venv .venv-triton && .venv-triton/bin/pip install nvidia-pytriton==0.7.0 'numpy<2' ai-edge-litert==2.3.0
    python3 -m venv .venv-mlserver && .venv-mlserver/bin/pip install mlserver==1.7.1 ai-edge-litert==2.3.0
    python benchmarks/serving.py

The job: a history of 20 items -> the mean of its embeddings -> two dense layers -> the product with 20,000 item vectors
of 64 components -> the ids and scores of the 20 best, exactly. The servers:

* Bascule, in each configuration of serving_servers.py: ids are strings, requests are validated, calls are logged;
* Triton: its C++ front end, and our own exact search in its Python backend; items are
  numbers. Rows of several calls are computed together, at most 128, gathered for 1 ms at most;
* Triton with the same model in two processes ("triton x2");
* MLServer, with the same search; at most 64 calls together, gathered for 2 ms at most;
* a C++ server that computes nothing ("no work") and answers 20 items: what gRPC itself allows.

What is not installed is left out, and a line says how to install it. Before and after it is timed, each server has to
give the right answers to 64 users. Closed loop: h2load with 8 connections of 8 calls under way each. Open loop: calls
at a constant rate, latency from the moment at which a call was meant to start; the rate is half of what our fastest
configuration answers in a closed loop, or what --rates says. All share the machine's processors with the load.

The servers run in turn, and the table shows medians over the rounds; ratios are of the same round, and carry over to
other machines, which the values do not. benchmarks/out/serving.json holds both as a list of {figure, value, unit,
floor, reach}; with --rates it is serving_load.json. Servers' complaints go to benchmarks/out/serving/logs.
"""

import argparse
import sys
from pathlib import Path

import serving_cpp
from figures import write_figures
from rich.console import Console
from serving_figures import figures, promises_table, servers_table
from serving_load import missing
from serving_model import ITEMS, generated
from serving_peers import peers
from serving_rounds import Plan, half_of_peak, one_round
from serving_servers import Server, our_servers
from serving_weights import read_questions

LOADED = "serving_load"
"""What runs with rates of one's own are kept as."""
ROUNDS = 5
SECONDS = 5.0
ROOT = Path(__file__).parents[1]


def main() -> None:
    """Prints the tables and writes the file."""
    arguments = _arguments()
    if hint := missing():
        sys.exit(f"h2load is missing: {hint}")
    model = generated(arguments.items)
    found: dict[str, Server | str] = {
        **our_servers(model.models),
        **peers(model, arguments.triton_python, arguments.mlserver_python),
    }
    if unknown := set(arguments.only) - set(found):
        sys.exit(f"no such server: {', '.join(unknown)}; there are: {', '.join(found)}")
    wanted = {name: server for name, server in found.items() if name in (arguments.only or found)}
    for name, server in wanted.items():
        if isinstance(server, str):
            print(f"{name} is left out: {server}", flush=True)
    servers = {name: server for name, server in wanted.items() if isinstance(server, Server)}
    plan = Plan(model, read_questions(model.weights), arguments.seconds, {})
    if hint := serving_cpp.missing():
        print(f"open loops are left out: {hint}", flush=True)
    elif arguments.rates:
        plan = plan._replace(rates={f"{rate:,.0f} calls/s": rate for rate in arguments.rates})
    else:
        plan = plan._replace(rates=half_of_peak(servers, plan))
    rounds = [one_round(servers, plan, number) for number in range(1, arguments.rounds + 1)]
    written = list(figures(rounds, plan.rates))
    console = Console(width=160)
    console.print(servers_table(rounds, plan.rates, f"{arguments.items:,} items; medians of {len(rounds)} rounds"))
    if any(each.floor is not None for each in written):
        console.print(promises_table(written))
    write_figures(LOADED if arguments.rates else "serving", written)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    parser.add_argument("--only", nargs="+", default=[], metavar="SERVER", help="such as triton")
    parser.add_argument("--rates", nargs="+", type=float, default=[], help="of the open loops, in calls a second")
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--triton-python", type=Path, default=ROOT / ".venv-triton" / "bin" / "python")
    parser.add_argument("--mlserver-python", type=Path, default=ROOT / ".venv-mlserver" / "bin" / "python")
    return parser.parse_args()


if __name__ == "__main__":
    main()
