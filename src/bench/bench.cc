#include "bench/bench.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <thread>

#include "bench/inputs.h"
#include "bench/load_options.h"
#include "bench/protocol.h"
#include "bench/sender.h"
#include "core/manifest.h"
#include "os/files.h"
#include "os/process.h"
#include "report/text.h"

namespace verge::bench {
namespace {

// As cli/exit_codes.h.
constexpr int kOk = 0, kNothing = 1, kUsage = 2, kEnvironment = 3, kInterrupted = 130;
constexpr int kMostThreads = 256, kMostConnections = 4096;
constexpr int kRestConnections = 32;  // of an open loop, where none are asked for

int fail(const Status& s) {
  std::fprintf(stderr, "verge bench: %s\n", report::clean(s.message()).c_str());
  return s.code() == Code::kUnavailable || s.code() == Code::kDeadlineExceeded ? kEnvironment : kUsage;
}

bool field_text(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return c >= ' ' && c != 0x7f; });
}

Result<Headers> headers_of(const BenchOptions& o, const std::string& token_file) {
  Headers out;
  for (const std::string& h : o.headers) {
    const size_t colon = h.find(':');
    if (colon == 0 || colon == std::string::npos || !field_text(h)) return invalid_argument("header '" + h.substr(0, 60) + "': must be NAME:VALUE");
    std::string name = h.substr(0, colon), value = h.substr(colon + 1);
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (name.find(' ') != std::string::npos) return invalid_argument("header '" + h.substr(0, 60) + "': a name has no spaces");
    while (value.starts_with(' ')) value.erase(0, 1);
    out.emplace_back(name, value);
  }
  if (token_file.empty()) return out;
  VERGE_ASSIGN(std::string token, os::read_file(token_file, 4096));
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r' || token.back() == ' ')) token.pop_back();
  if (!field_text(token) || token.find(' ') != std::string::npos || token.empty()) return invalid_argument(token_file + ": a token is one word");
  out.emplace_back("authorization", "Bearer " + token);
  return out;
}

Result<InputOptions> input_options(const BenchOptions& o, uint64_t seed) {
  InputOptions in;
  in.labels = o.labels;
  in.fill = o.fill;
  in.most_samples = o.samples;
  in.seed = seed;
  for (const std::string& text : o.inputs) {
    const size_t equals = text.find('=');
    const bool named = equals != std::string::npos && equals > 0 && text.find('/') > equals;
    in.files[named ? text.substr(0, equals) : ""] = named ? text.substr(equals + 1) : text;
  }
  for (const std::string& text : o.shapes) {
    const size_t equals = text.find('=');
    std::vector<int64_t> dims;
    const char *p = text.data() + (equals == std::string::npos ? text.size() : equals + 1), *end = text.data() + text.size();
    while (p < end) {
      int64_t d = 0;
      const auto [next, error] = std::from_chars(p, end, d);
      if (error != std::errc() || d < 1 || (next < end && *next != ',')) break;
      dims.push_back(d);
      p = next + (next < end);
    }
    if (equals == std::string::npos || equals == 0 || p != end || dims.empty()) return invalid_argument("--shape '" + text.substr(0, 60) + "': must be NAME=1,3,224,224");
    in.shapes[text.substr(0, equals)] = dims;
  }
  return in;
}

// What one tenant sends, and a first request that must be understood.
struct Prepared {
  std::vector<TenantLoad> loads;  // one a tenant
  std::vector<std::unique_ptr<Inputs>> inputs;
  std::string server, data;
};

Status explain(const Status& s, const TenantSpec& t, const Target& target) {
  if (s.code() == Code::kNotFound)
    return invalid_argument("the server at " + target.text() + " has no model '" + t.model + "'" + (t.version.empty() ? "" : " version " + t.version) + " (" + s.message() +
                            "). Name one that it serves with --model; `verge models ZOO` lists those of a zoo");
  return s.prefixed(target.text() + ", model " + t.model);
}

Status try_once(Channel& channel, Protocol protocol, const TenantSpec& t, TenantLoad& load, const Target& target) {
  Exchange e;
  e.form = &load.forms[0];
  patch_timeout(load.bodies[0], 30'000'000);
  e.body = load.bodies[0].bytes;
  if (const Status s = call_once(channel, e, 60); !s.ok()) return s.prefixed(target.text() + ", first request to " + t.model);
  const Answer a = read_answer(protocol, e);
  if (!a.ok) {
    // Whoever is refused for want of room, time or bounds now may well be measured; what is wrong for good is said at once.
    const bool wrong = protocol == Protocol::kGrpc ? e.grpc_status == 3 || e.grpc_status == 5 || e.grpc_status == 7 || e.grpc_status == 12 || e.grpc_status == 16
                                                   : e.http_status >= 400 && e.http_status < 500 && e.http_status != 429 && e.http_status != 408 && e.http_status != 412;
    if (wrong) return invalid_argument("tenant " + t.name + ": the server refuses its requests: " + error_text(protocol, e));
    return {};
  }
  if (load.labels && !load.labels->empty() && count_right(protocol, e, load.output, (*load.labels)[0].data(), load.batch) < 0)
    return invalid_argument("tenant " + t.name + ": output " + load.output + " has no scores to compare with labels; name another with --output");
  return {};
}

Result<Prepared> prepare(const BenchOptions& o, const Plan& plan, const Target& target, Protocol protocol) {
  VERGE_ASSIGN(auto channel, Channel::open(target));
  Prepared out;
  VERGE_ASSIGN(const InputOptions in, input_options(o, plan.seed));
  for (const TenantSpec& t : plan.tenants) {
    if (t.model.empty()) return invalid_argument("which model? Say --model NAME" + std::string(plan.tenants.size() > 1 ? ", or model=NAME for tenant " + t.name : ""));
    if (!std::all_of(t.model.begin(), t.model.end(), [](char c) { return c > ' ' && c < 0x7f && c != '?' && c != '#' && c != '%'; }) ||
        !std::all_of(t.version.begin(), t.version.end(), [](char c) { return c > ' ' && c < 0x7f && c != '/'; }))
      return invalid_argument("tenant " + t.name + ": '" + t.model.substr(0, 60) + "' is no model's name");
    VERGE_ASSIGN(const Headers headers, headers_of(o, t.token_file.empty() ? o.token_file : t.token_file));
    if (out.server.empty()) {
      const auto server = ask_server(*channel, protocol, headers);
      if (!server.ok() && server.status().code() == Code::kUnavailable)
        return unavailable(target.text() + " does not speak " + (target.grpc ? "gRPC without TLS" : "HTTP/1.1") + " (" + server.status().message() + "). Is it the right port? Try --protocol " + (target.grpc ? "rest" : "grpc"));
      out.server = server.ok() ? server->name + " " + server->version : "unknown server";
    }
    auto model = ask_model(*channel, protocol, t.model, t.version, headers);
    if (!model.ok()) return explain(model.status(), t, target);
    if (model->inputs.empty()) return failed_precondition("the server does not say which inputs " + t.model + " has");
    VERGE_ASSIGN(Inputs made, make_inputs(*model, in, t.batch));
    if (out.data.find(made.description) == std::string::npos) out.data += (out.data.empty() ? "" : "; ") + made.description;
    out.inputs.push_back(std::make_unique<Inputs>(std::move(made)));
    TenantLoad load;
    load.batch = t.batch;
    load.deadline_ns = static_cast<uint64_t>(t.deadline_ms * 1e6);
    load.send_deadline = o.send_deadline;
    load.labels = &out.inputs.back()->labels;
    if (!load.labels->empty() || !o.output.empty()) load.output = o.output.empty() ? (model->outputs.empty() ? "" : model->outputs[0].name) : o.output;
    for (const Sample& s : out.inputs.back()->requests) {
      load.bodies.push_back(make_request(protocol, t, *model, s, load.output, load.deadline_ns && load.send_deadline));
      load.forms.push_back(make_form(protocol, t, load.bodies.back().json_bytes, headers));
    }
    // Made into requests; not needed twice.
    out.inputs.back()->requests.clear();
    VERGE_RETURN_IF_ERROR(try_once(*channel, protocol, t, load, target));
    out.loads.push_back(std::move(load));
  }
  return out;
}

// Readable once the last thread has ended.
struct Over {
  int fd = ::eventfd(0, EFD_CLOEXEC);
  Over() = default;
  Over(const Over&) = delete;
  ~Over() { ::close(fd); }
  void tell() const {
    const uint64_t one = 1;
    (void)!::write(fd, &one, sizeof one);
  }
};

void show_progress(const RunState& run, uint64_t now, uint64_t* last_answered, uint64_t* last_at) {
  const uint64_t answered = run.answered.load(std::memory_order_relaxed), refused = run.refused.load(std::memory_order_relaxed);
  const double span = static_cast<double>(now - *last_at) * 1e-9, rate = span > 0 ? static_cast<double>(answered - *last_answered) / span : 0;
  std::fprintf(stderr, "\r\033[K%s %.0f s of %.0f, %s answers/s, %llu not answered", now < run.measured_ns ? "warm-up," : "measuring,",
               static_cast<double>(now - run.begin_ns) * 1e-9, static_cast<double>(run.end_ns - run.begin_ns) * 1e-9, report::rate(rate).c_str(), static_cast<unsigned long long>(refused));
  *last_answered = answered;
  *last_at = now;
}

void add_notes(Record& r, const std::vector<std::unique_ptr<Sender>>& senders, const Target& target) {
  const Part& p = r.total;
  std::string error;
  uint64_t reconnects = 0;
  for (const auto& s : senders) {
    if (error.empty()) error = s->first_error();
    if (!s->status().ok()) r.notes.push_back("ended early: " + s->status().message());
    reconnects += s->reconnects();
  }
  if (!error.empty()) r.notes.push_back("first refusal: " + error);
  if (reconnects) r.notes.push_back(std::to_string(reconnects) + " connections broke or were closed by the server and were opened anew");
  if (p.answered && p.client_wait.p99 > std::max(0.25 * p.from_intended.p50, 200.0))
    r.notes.push_back("the client was late: 1 % of requests left more than " + report::time_us(p.client_wait.p99) +
                      " after they were meant to (counted in the latencies). Give it --connections, --threads, cores of its own, or --spin-us");
  if (target.host.starts_with("127.") || target.host == "localhost" || target.host == "::1" || target.host.starts_with("unix:"))
    r.notes.push_back("client and server share this machine");
}

}  // namespace

int bench_main(const BenchOptions& o) {
  const Protocol protocol = o.protocol == "grpc" ? Protocol::kGrpc : o.protocol == "rest" ? Protocol::kRest : Protocol::kRestJson;
  const auto plan = plan_of(o.load, o.batch);
  if (!plan.ok()) return fail(plan.status());
  const auto target = parse_target(o.address, protocol == Protocol::kGrpc, o.tls);
  if (!target.ok()) return fail(target.status());
  if (o.threads < 1 || o.threads > kMostThreads) return fail(invalid_argument("--threads: must be 1 to 256"));
  if (!o.load.compare.empty())
    if (const auto other = read_record(o.load.compare); !other.ok()) return fail(other.status());
  os::catch_interrupt();
  auto prepared = prepare(o, *plan, *target, protocol);
  if (!prepared.ok()) return fail(prepared.status());

  int in_flight = 0;
  bool open_loop = false;
  for (const int n : closed_loops(*plan)) {
    in_flight += n;
    open_loop |= n == 0;
  }
  int connections = o.connections;
  if (connections <= 0) connections = protocol == Protocol::kGrpc ? o.threads : std::max(open_loop ? kRestConnections : 0, in_flight);
  connections = std::clamp(connections, o.threads, kMostConnections);

  RunState run;
  run.most_requests = plan->requests;
  std::vector<std::unique_ptr<Sender>> senders;
  for (int i = 0; i < o.threads; ++i) {
    SenderOptions s;
    s.target = *target;
    s.protocol = protocol;
    s.connections = connections / o.threads + (i < connections % o.threads);
    s.index = static_cast<uint32_t>(i);
    s.threads = static_cast<uint32_t>(o.threads);
    s.drain_seconds = o.drain_seconds;
    s.spin_ns = o.spin_us < 0 ? UINT64_MAX : static_cast<uint64_t>(o.spin_us * 1000);
    if (!o.cores.empty()) s.core = o.cores[static_cast<size_t>(i) % o.cores.size()];
    senders.push_back(std::make_unique<Sender>(s, *plan, prepared->loads, run, slots_of(plan->seconds)));
    if (const Status status = senders.back()->connect(); !status.ok()) return fail(status);
  }
  run.begin_ns = os::monotonic_ns() + 1'000'000;
  run.measured_ns = run.begin_ns + static_cast<uint64_t>(plan->warm_up * 1e9);
  run.end_ns = run.measured_ns + static_cast<uint64_t>(plan->seconds * 1e9);
  std::atomic<int> running{o.threads};
  Over over;
  std::vector<std::thread> threads;
  for (auto& s : senders)
    threads.emplace_back([&running, &over, sender = s.get()] {
      sender->run();
      if (running.fetch_sub(1) == 1) over.tell();
    });

  const bool progress = !o.load.quiet && ::isatty(STDERR_FILENO);
  uint64_t last_answered = 0, last_at = run.begin_ns;
  while (running.load() > 0) {
    // Either the last thread ends, or somebody interrupts, or it is time to say how it goes.
    pollfd p[2] = {{over.fd, POLLIN, 0}, {run.stop.load() ? -1 : os::interrupt_fd(), POLLIN, 0}};
    ::poll(p, 2, progress ? 500 : -1);
    if (os::interrupted()) run.stop.store(true);
    if (progress) show_progress(run, os::monotonic_ns(), &last_answered, &last_at);
  }
  for (auto& t : threads) t.join();
  if (progress) std::fputs("\r\033[K", stderr);

  std::vector<Tally> tallies;
  for (size_t t = 0; t < plan->tenants.size(); ++t) {
    Tally sum;
    for (auto& s : senders) sum.add(s->tallies()[t]);
    tallies.push_back(std::move(sum));
  }
  // A run that was cut short, by Ctrl-C or by its count, measured for as long as it went on.
  double seconds = plan->seconds;
  uint64_t sent_until = 0;
  for (auto& s : senders) sent_until = std::max(sent_until, s->sending_ended_ns());
  if (sent_until < run.end_ns) seconds = std::max(1e-3, static_cast<double>(sent_until - std::min(sent_until, run.measured_ns)) * 1e-9);
  Record record = make_record(*plan, tallies, seconds);
  record.kind = "live";
  record.server = target->text() + " (" + prepared->server + ")";
  record.protocol = std::string(protocol_name(protocol)) + ", " + std::to_string(connections) + (connections == 1 ? " connection, " : " connections, ") + std::to_string(o.threads) +
                    (o.threads == 1 ? " thread" : " threads");
  record.data = prepared->data;
  // Of the machine's monotonic clock: what else was seen on it can be set beside the late answers.
  record.settings["measured_from_s"] = static_cast<double>(run.measured_ns) * 1e-9;
  record.interrupted = os::interrupted();
  add_notes(record, senders, *target);
  if (const Status s = show(record, o.load); !s.ok()) return fail(s);
  if (record.interrupted) return kInterrupted;
  return record.total.answered ? kOk : kNothing;
}

int compare_main(const CompareOptions& o) {
  const auto a = read_record(o.a), b = read_record(o.b);
  for (const auto* r : {&a, &b})
    if (!r->ok()) {
      std::fprintf(stderr, "verge compare: %s\n", r->status().message().c_str());
      return kUsage;
    }
  std::fputs(compare_text(*a, *b).c_str(), stdout);
  if (!o.html.empty())
    if (const Status s = os::write_file_atomic(o.html, record_page(*a, &*b)); !s.ok()) {
      std::fprintf(stderr, "verge compare: %s\n", s.message().c_str());
      return kEnvironment;
    }
  return kOk;
}

}  // namespace verge::bench
