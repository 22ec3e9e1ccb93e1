#!/usr/bin/env python3
"""Writes the tables of benches/report.sh between the marker lines of a file.

benches/tables.py FOLDER FILE REVISION COMMAND SERVER...

FOLDER has disk.json and a SERVER-LOAD-RUN.json of `trunkfs bench --json` for each run.
"""
import datetime
import glob
import json
import os
import platform
import statistics
import sys

BEGIN, END = "<!-- benches/report.sh: begin -->", "<!-- benches/report.sh: end -->"
TITLES = {"sqlite": "TrunkFS, SQLite", "postgres": "TrunkFS, PostgreSQL", "ganesha": "NFS-Ganesha, VFS"}
LOADS = {"8x8": "8 connections with 8 calls in flight on each", "1x1": "one call at a time"}


def spread(numbers):
    """The median of the runs, with the least and the most."""
    median = statistics.median(numbers)
    digits = 0 if median >= 100 else 1
    parts = [f"{number:,.{digits}f}" for number in (median, min(numbers), max(numbers))]
    return parts[0] if len(numbers) == 1 else f"{parts[0]} ({parts[1]}–{parts[2]})"


def machine():
    def first(path, key):
        with open(path) as lines:
            values = [line.split(":", 1)[1].strip() for line in lines if line.startswith(key)]
        return values[0] if values else "unknown"

    memory = int(first("/proc/meminfo", "MemTotal").split()[0]) / (1 << 20)
    processor = first("/proc/cpuinfo", "model name")
    return f"{os.cpu_count()} processors ({processor}), {memory:.0f} GiB of memory, Linux {platform.release()}"


def read(folder, server, load):
    """The figures of all runs, by workload."""
    figures = {}
    for path in sorted(glob.glob(os.path.join(folder, f"{server}-{load}-*.json"))):
        with open(path) as file:
            text = file.read()
        for workload in json.loads(text)["workloads"] if text else []:
            figures.setdefault(workload["workload"], []).append(workload)
    return figures


def row(cells):
    return "| " + " | ".join(cells) + " |"


def rates(runs):
    """Of data the MiB, of everything else the operations."""
    if runs[0]["workload"].startswith(("read-", "write-")):
        return [run["bytes_per_second"] / (1 << 20) for run in runs]
    return [run["per_second"] for run in runs]


def table(title, all_figures, cell):
    servers = list(all_figures)
    names = list(dict.fromkeys(name for figures in all_figures.values() for name in figures))
    lines = [title, "", row(["workload"] + [TITLES.get(server, server) for server in servers])]
    lines.append(row(["---"] * (1 + len(servers))))
    for name in names:
        cells = [cell(all_figures[server][name]) if name in all_figures[server] else "–" for server in servers]
        lines.append(row([f"`{name}`"] + cells))
    return lines + [""]


def rate_cell(runs):
    unit = " MiB" if runs[0]["workload"].startswith(("read-", "write-")) else ""
    errors = sum(run["error_count"] for run in runs)
    return spread(rates(runs)) + unit + (f", {errors:,} errors" if errors else "")


def latency_cell(runs):
    median = lambda key: statistics.median(run["latency_us"][key] for run in runs)
    return ", ".join(f"{median(key):,.0f}" for key in ("p50", "p99", "p99.9"))


def processor_cell(runs):
    used = [run["server_cpu_us_per_call"] for run in runs if run["server_cpu_us_per_call"] is not None]
    return f"{statistics.median(used):,.1f}" if used else "–"


def losses(all_figures, load):
    """Where another server makes more than a TrunkFS server does."""
    lines = []
    for server in ("sqlite", "postgres"):
        for name, others in all_figures.get("ganesha", {}).items():
            runs = all_figures.get(server, {}).get(name)
            ours, theirs = (statistics.median(rates(it)) if it else 0 for it in (runs, others))
            if not ours or not theirs or theirs <= ours:
                continue
            is_clear = min(rates(others)) > max(rates(runs))
            note = "" if is_clear else "; the runs overlap"
            lines.append((theirs / ours, f"- {TITLES[server]}, `{name}`, {load}: Ganesha makes {theirs / ours:.1f} times as much{note}"))
    return [line for _, line in sorted(lines, reverse=True)]


def report(folder, revision, command, servers):
    with open(os.path.join(folder, "disk.json")) as file:
        disk = json.load(file)
    lines = [
        f"Commit {revision}, {datetime.date.today()}; {machine()}; `{command.strip()}`. Medians of the runs, with the least and the most in parentheses.",
        f"The disk alone: {spread(disk['fdatasync_per_second'])} appends of 4 KiB with fdatasync a second,"
        f" {spread(disk['write_mib_per_second'])} MiB a second written and synced at the end.",
        "",
    ]
    lost = []
    for load, words in LOADS.items():
        all_figures = {server: read(folder, server, load) for server in servers}
        lines += [f"### {words[0].upper()}{words[1:]}"]
        lines += table("Operations a second, or MiB a second of reads and writes:", all_figures, rate_cell)
        lines += table("Latencies p50, p99, p99.9 in µs:", all_figures, latency_cell)
        lines += table("Processor time of the server for a call, in µs (without PostgreSQL's own):", all_figures, processor_cell)
        lost += losses(all_figures, load)
    lines += ["### Where TrunkFS loses"]
    if "ganesha" not in servers:
        lines += ["NFS-Ganesha was not measured."]
    lines += lost or ["Nowhere in these runs." if "ganesha" in servers else ""]
    return "\n".join(lines).rstrip() + "\n"


def main():
    folder, output, revision, command, *servers = sys.argv[1:]
    with open(output) as file:
        text = file.read()
    before, marked, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not marked or not ended:
        sys.exit(f"{output} has no lines {BEGIN} and {END}")
    text = f"{before}{BEGIN}\n{report(folder, revision, command, servers)}{END}{after}"
    with open(output, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
