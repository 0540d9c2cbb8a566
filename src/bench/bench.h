// `verge bench`: load on a server of the Open Inference Protocol, and what became of it. `verge compare`: two results side by side.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bench/tls.h"

namespace verge::bench {

// The part of the command line that says which load there is; `verge simulate` takes it too.
struct LoadOptions {
  std::string model, version;
  std::vector<std::string> tenants;  // "name=…,rate=…"
  std::string plan;                  // YAML file of tenants
  int in_flight = 0;                 // closed loop; 0: not given
  double rate = 0;
  std::string arrivals;              // empty: poisson where there is a rate, replay where there is a trace, else closed
  double burst_factor = 5, burst_seconds = 0.2, pause_seconds = 0.8;
  std::string trace, trace_column, trace_unit = "s";
  double seconds = 0;                // to measure; 0: 10, or what `requests` need
  double warm_up = -1;               // negative: a tenth, at most 2 s
  unsigned long long requests = 0;
  unsigned long long seed = 1;
  double deadline_ms = 0;
  std::string json, html, compare;
  bool quiet = false;
};

struct BenchOptions {
  LoadOptions load;
  std::string address = "127.0.0.1:8000";
  std::string protocol = "grpc";  // grpc, rest, rest-json
  int connections = 0;            // 0: one a thread over gRPC; over REST as many as are in flight, or 32
  int threads = 1;
  double spin_us = 0;             // negative: never sleep
  std::vector<int> cores;         // to pin the threads to
  std::vector<std::string> inputs;  // "NAME=FILE" or "FILE"
  std::string labels, output;
  std::string fill = "random";
  std::vector<std::string> shapes;  // "NAME=1,3,224,224"
  long long samples = 1000;
  long long batch = 1;
  TlsOptions tls;
  std::string token_file;
  std::vector<std::string> headers;  // "name:value"
  bool send_deadline = true;
  double drain_seconds = 10;
};
int bench_main(const BenchOptions& options);

struct CompareOptions {
  std::string a, b, html;
};
int compare_main(const CompareOptions& options);

}  // namespace verge::bench
