// bench, simulate, compare: what load there is, and what became of it.
#include <CLI/CLI.hpp>

#include <memory>
#include <string>

#include "bench/bench.h"
#include "cli/commands.h"
#include "simulate/simulate.h"

namespace verge::cli {
namespace {

constexpr const char* kTenants =
    "A tenant (--tenant KEY=VALUE,…; or in a YAML file: a list `tenants:` of maps of the same keys):\n"
    "  name, model, version, batch, token_file\n"
    "  share=W               its part of the run's arrivals; or arrivals of its own: rate=R, in_flight=N,\n"
    "                        arrivals=poisson|uniform|bursts|replay|closed, burst_factor, burst_seconds, pause_seconds\n"
    "  deadline_ms=MS        from when the request is meant to be sent\n"
    "  min_accuracy, max_energy_mj, objective, rule, confidence, max_accuracy_loss, exit, conditions, variant: Verge's bounds\n"
    "  priority, NAME.WITH.DOT=VALUE: request parameters, sent as they are\n";

// What bench and simulate have in common.
void add_load(CLI::App* c, bench::LoadOptions& o) {
  c->add_option("-n,--in-flight", o.in_flight, "closed loop: this many requests are always under way (default 1)")->check(CLI::Range(1, 65536));
  c->add_option("-r,--rate", o.rate, "open loop: requests a second, whatever the server does")->check(CLI::PositiveNumber);
  c->add_option("--arrivals", o.arrivals, "closed, poisson (default with --rate), uniform, bursts, replay (default with --trace)");
  c->add_option("--burst-factor", o.burst_factor, "bursts: how many times the rate between them")->check(CLI::Range(1.0, 1e6));
  c->add_option("--burst-seconds", o.burst_seconds, "bursts: mean length of one")->check(CLI::PositiveNumber);
  c->add_option("--pause-seconds", o.pause_seconds, "bursts: mean time between two")->check(CLI::PositiveNumber);
  c->add_option("--trace", o.trace, "CSV file of arrival times to replay; --rate scales it to that mean rate");
  c->add_option("--trace-column", o.trace_column, "its column, by name or number from 0 (default: the first)");
  c->add_option("--trace-unit", o.trace_unit, "of its numbers: s, ms, us, ns; dates and times need none")->check(CLI::IsMember({"s", "ms", "us", "ns"}));
  c->add_option("-s,--seconds", o.seconds, "how long to measure (default 10, or as long as --requests need)")->check(CLI::PositiveNumber);
  c->add_option("--requests", o.requests, "measure at most this many requests");
  c->add_option("--warm-up", o.warm_up, "seconds before, not measured (default: a tenth of the time, at most 2 s)")->check(CLI::NonNegativeNumber);
  c->add_option("--deadline-ms", o.deadline_ms, "deadline of each request, from when it is meant to be sent")->check(CLI::NonNegativeNumber);
  c->add_option("--tenant", o.tenants, "KEY=VALUE,…: one of several tenants, see below; repeat it");
  c->add_option("--plan", o.plan, "YAML file of tenants");
  c->add_option("--seed", o.seed, "of arrivals, the mix of tenants and made-up inputs: the same seed gives the same load");
  c->add_option("--json", o.json, "write the results to this file; - prints them instead of the summary");
  c->add_option("--html", o.html, "write a page with plots, one file that loads nothing");
  c->add_option("--compare", o.compare, "set these results beside those of an earlier --json file, live or simulated");
  c->add_flag("-q,--quiet", o.quiet, "print nothing but errors");
}

}  // namespace

Command add_bench(CLI::App& root) {
  auto* c = root.add_subcommand("bench", "Measure a server under load: any that speaks the Open Inference Protocol");
  auto o = std::make_shared<bench::BenchOptions>();
  c->add_option("address", o->address, "HOST:PORT or unix:/path (default 127.0.0.1:8000)");
  c->add_option("-m,--model", o->load.model, "the model to ask");
  c->add_option("--model-version", o->load.version, "its version (default: the server's choice)");
  add_load(c, o->load);
  c->add_option("-p,--protocol", o->protocol, "grpc (default), rest (binary tensors) or rest-json")->check(CLI::IsMember({"grpc", "rest", "rest-json"}));
  c->add_option("-c,--connections", o->connections, "connections (default: gRPC one a thread; REST as many as are in flight, 32 in open loops)")->check(CLI::Range(1, 4096));
  c->add_option("--threads", o->threads, "sending threads (default 1)")->check(CLI::Range(1, 256));
  c->add_option("--cores", o->cores, "cores to pin the threads to, e.g. 2,3")->delimiter(',');
  c->add_option("--spin-us", o->spin_us, "stay awake for the last microseconds before a request is due; -1: never sleep");
  c->add_option("-i,--input", o->inputs, "NAME=FILE, or FILE where the model has one input: .npy, .npz, IDX, raw, CSV, samples along the first axis; a photo or a folder of them for a BYTES input");
  c->add_option("--labels", o->labels, "class of each sample (.npy, IDX, text): right answers are counted");
  c->add_option("--output", o->output, "the output with the scores (default: the first); only it is asked for");
  c->add_option("--fill", o->fill, "without --input: random (seeded) or zeros")->check(CLI::IsMember({"random", "zeros"}));
  c->add_option("--shape", o->shapes, "NAME=1,3,224,224: of an input with free dimensions");
  c->add_option("--samples", o->samples, "samples to read at most (default 1000)")->check(CLI::Range(1LL, 1'000'000LL));
  c->add_option("-b,--batch", o->batch, "samples a request (default 1)")->check(CLI::Range(1LL, 65536LL));
  c->add_flag("--tls", o->tls.on, "speak TLS, as to an https:// address; so do the four below");
  c->add_option("--ca", o->tls.ca, "PEM file of the authorities that the server's certificate must come from (default: the system's)");
  c->add_flag("--insecure", o->tls.insecure, "take whatever certificate the server shows");
  c->add_option("--cert", o->tls.certificate, "PEM file of the client's own certificate, where the server asks for one");
  c->add_option("--key", o->tls.key, "PEM file of its key");
  c->add_option("--token-file", o->token_file, "file with the bearer token to send");
  c->add_option("--header", o->headers, "NAME:VALUE, sent with each request");
  c->add_flag("!--keep-deadline", o->send_deadline, "do not tell the server the deadline (else: grpc-timeout, over REST the parameter timeout)");
  c->add_option("--drain-seconds", o->drain_seconds, "how long to wait for the last answers (default 10)")->check(CLI::Range(0.0, 3600.0));
  c->footer(std::string("Examples:\n"
                        "  verge bench -m photos                                    one request after the other\n"
                        "  verge bench -m photos -n 32 -s 30 --html run.html        32 always in flight\n"
                        "  verge bench HOST:8001 -m photos -r 200 --deadline-ms 50  200/s, Poisson\n"
                        "  verge bench -m photos --trace arrivals.csv --trace-column TIMESTAMP -r 150\n"
                        "  verge bench -m photos -i images.npy --labels labels.npy -n 4      counts right answers\n"
                        "  verge bench -m photos -r 100 --tenant name=a,deadline_ms=20,min_accuracy=0.8 --tenant name=b,deadline_ms=200,share=3\n\n"
                        "In open loops a latency counts from when the request was meant to be sent: a server that stalls pays for all who waited.\n"
                        "Ctrl-C ends early and prints what was measured.\n\n") +
            kTenants);
  return {c, [o] { return bench::bench_main(*o); }};
}

Command add_simulate(CLI::App& root) {
  auto* c = root.add_subcommand("simulate", "Predict what bench would measure: the server's policies over measured times, under a virtual clock");
  auto o = std::make_shared<simulate::SimulateOptions>();
  c->add_option("packages", o->packages, "zoo, ZOO/NAME or ZOO/NAME/VERSION, measured (verge build, verge profile)")->required();
  c->add_option("-m,--model", o->load.model, "the model to ask (default: the only one); a family by its name");
  add_load(c, o->load);
  c->add_option("-b,--batch", o->batch, "samples a request (default 1)")->check(CLI::Range(1LL, 65536LL));
  c->add_option("--lanes", o->lanes, "lanes of the server (default 1); 0: one front that is its own lane, as on a single core")->check(CLI::Range(0, 256));
  c->add_option("-c,--connections", o->connections, "connections that requests come over (default 1)")->check(CLI::Range(1, 4096));
  c->add_option("--variants", o->variants, "resident variants, with '*' (default: the one that answers without bounds)");
  c->add_option("--device", o->device, "fingerprint of the device whose profile counts (default: this one, else the latest)");
  c->add_option("--request-us", o->request_us, "what a request takes outside the lanes: client, network, front")->check(CLI::NonNegativeNumber);
  c->add_option("--lane-us", o->lane_us, "what each request occupies its lane with beside the engine")->check(CLI::NonNegativeNumber);
  c->add_option("--calibrate", o->calibrate, "take both from this result of `verge bench -n 1`; a second one of a loop that loads the server fully makes the rate fit");
  auto* measured = c->add_option("--measured", o->measured, "service times as a server counted them: its saved GET /metrics, in place of the profiles'");
  c->add_option("--measured-since", o->measured_since, "only what came after these earlier ones of the same server")->needs(measured);
  c->add_option("--stretch", o->stretch, "multiply all service times, for a device that is slower by that")->check(CLI::Range(1e-3, 1e3));
  c->add_option("--disturb", o->disturb, "AT,SECONDS[,FACTOR]: from second AT on, for so long, the machine is slower by FACTOR; without one it stands still; repeat it");
  c->add_option("--watts", o->watts, "of a busy lane, for energy")->check(CLI::NonNegativeNumber);
  c->add_flag("--clairvoyant", o->clairvoyant, "know each service time in advance: what the same policies could reach at best");
  c->footer(std::string("Examples:\n"
                        "  verge simulate zoo/photos -r 200 --deadline-ms 50\n"
                        "  verge simulate zoo -m photos --variants '*' --trace arrivals.csv -r 150 --tenant name=a,deadline_ms=20,min_accuracy=0.8 --tenant name=b\n"
                        "  verge simulate zoo/photos -r 200 --requests 1000000 --json sim.json && verge compare live.json sim.json\n\n"
                        "The same seed gives the same arrivals as `verge bench`, and the same results each time.\n\n") +
            kTenants);
  return {c, [o] { return simulate::simulate_main(*o); }};
}

Command add_compare(CLI::App& root) {
  auto* c = root.add_subcommand("compare", "Set two results of bench or simulate side by side");
  auto o = std::make_shared<bench::CompareOptions>();
  c->add_option("a", o->a, "a --json file")->required();
  c->add_option("b", o->b, "another")->required();
  c->add_option("--html", o->html, "write a page with both in the same plots");
  c->footer("Example:\n  verge compare live.json simulated.json --html both.html");
  return {c, [o] { return bench::compare_main(*o); }};
}

}  // namespace verge::cli
