#!/usr/bin/env python3
"""llama.cpp's server as the wheel xllamacpp has it, for `--llama-server` where nobody wants to build llama-server.
Takes the options that bench/serving gives; PYTHONPATH must lead to xllamacpp. The wheel is built for AVX2 without
AVX-512 and AMX, where llama-server built with GGML_NATIVE has all that the processor has.
"""
import argparse
import signal
import sys
from importlib.metadata import version

import xllamacpp


def read_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--no-ui", action="store_true")
    for name in ("-m", "--mmproj", "--alias", "--host"):
        parser.add_argument(name)
    for name in ("--port", "-t", "-tb", "--parallel", "-c"):
        parser.add_argument(name, type=int)
    return parser.parse_args()


def parameters_of(arguments):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = arguments.m
    parameters.mmproj.path = arguments.mmproj
    parameters.model_alias = {arguments.alias}
    parameters.hostnames = [arguments.host]
    parameters.port = arguments.port
    parameters.cpuparams.n_threads = arguments.t
    parameters.cpuparams_batch.n_threads = arguments.tb
    parameters.n_parallel = arguments.parallel
    parameters.n_ctx = arguments.c
    return parameters


def main():
    arguments = read_arguments()
    if arguments.version:
        print(f"of xllamacpp {version('xllamacpp')}, {xllamacpp.get_system_info().strip(' |')}")
        return
    server = xllamacpp.Server(parameters_of(arguments))
    print(server.listening_address, file=sys.stderr, flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])


if __name__ == "__main__":
    main()
