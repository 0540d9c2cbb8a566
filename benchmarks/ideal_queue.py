"""What no scheduler can beat: one server that is never interrupted, that knows at once what comes, and that takes all that waits, up to a size, into each run.

usage: ideal_queue.py --times 1=190,2=350,4=676 [--each 20] [--hop 190] [--load 0.7]

Times of a run by its samples in µs, what each request costs beside it, and its way there and back. Prints, for each limit of the size, the p50 and the p99 over the time of
a request that meets nobody.
"""
import argparse
import random


def ideal(run_us, rate, most, hop_us=0.0, requests=40_000, seed=1):
    """(p50, p99) in µs at Poisson arrivals of `rate` a second; `run_us(n)` is the time of a run of n samples with all that its requests cost the server."""
    draw = random.Random(seed)
    gap = 1e6 / rate
    now = first = 0.0
    arrival = draw.expovariate(1) * gap
    waiting, times = [], []
    while len(times) < requests:
        if first == len(waiting):
            waiting, first = [], 0
            now = max(now, arrival)
        while arrival <= now or first == len(waiting):
            waiting.append(arrival)
            arrival += draw.expovariate(1) * gap
        n = min(len(waiting) - first, most)
        now += run_us(n)
        times += [now - t + hop_us for t in waiting[first:first + n]]
        first += n
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def curve(times, each=0.0):
    """{samples: µs} as a function: linear between, in proportion beyond."""
    sizes = sorted(times)

    def run_us(n):
        below = max(s for s in sizes if s <= n)
        above = next((s for s in sizes if s >= n), None)
        if above is None:
            us = times[below] * n / below
        elif above == below:
            us = times[n]
        else:
            us = times[below] + (times[above] - times[below]) * (n - below) / (above - below)
        return us + each * n

    return run_us


def limits(times, each, hop, rate):
    """{largest size: (p50, p99)} for the sizes with which the server keeps up at all."""
    run_us = curve(times, each)
    return {most: ideal(run_us, rate, most, hop) for most in sorted(times) if rate * run_us(most) / most < 0.98e6}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", required=True)
    parser.add_argument("--each", type=float, default=0)
    parser.add_argument("--hop", type=float, default=0)
    parser.add_argument("--load", type=float, default=0.7)
    args = parser.parse_args()
    times = {int(size): float(us) for size, us in (pair.split("=") for pair in args.times.split(","))}
    run_us = curve(times, args.each)
    rate = args.load * max(1e6 * size / run_us(size) for size in times)
    light = run_us(1) + args.hop
    print(f"{rate:,.0f}/s; alone {light:.0f} µs")
    for most, (p50, p99) in limits(times, args.each, args.hop, rate).items():
        print(f"runs of at most {most:2}: p50 {p50:,.0f} µs, p99 {p99:,.0f} µs, {p99 / light:.1f} times")


if __name__ == "__main__":
    main()
