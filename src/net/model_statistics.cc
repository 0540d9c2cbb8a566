#include "net/model_statistics.h"

#include <string>

#include "net/wire.h"

namespace verge::net {
namespace {

using runtime::DurationStat;

void add_duration(ByteBuffer& out, uint32_t number, const DurationStat& d) {
  const wire::Nested nested(out, number);
  wire::add_uint(out, 1, d.count);
  wire::add_uint(out, 2, d.ns);
}

Json duration_json(const DurationStat& d) { return {{"count", d.count}, {"ns", d.ns}}; }

}  // namespace

void write_statistics(const std::vector<runtime::ModelStatistics>& models, ByteBuffer* out) {
  for (const runtime::ModelStatistics& m : models) {
    const wire::Nested model(*out, 1);
    wire::add_string(*out, 1, m.name);
    wire::add_string(*out, 2, std::to_string(m.version));
    wire::add_uint(*out, 3, m.last_inference_ms);
    wire::add_uint(*out, 4, m.inference_count);
    wire::add_uint(*out, 5, m.execution_count);
    {
      const wire::Nested stats(*out, 6);
      add_duration(*out, 1, m.success);
      add_duration(*out, 2, m.fail);
      add_duration(*out, 3, m.queue);
      add_duration(*out, 4, m.compute_input);
      add_duration(*out, 5, m.compute_infer);
      add_duration(*out, 6, m.compute_output);
      add_duration(*out, 7, {});  // cache_hit, cache_miss: there is no cache
      add_duration(*out, 8, {});
    }
    for (const auto& b : m.batches) {
      const wire::Nested batch(*out, 7);
      wire::add_uint(*out, 1, b.size);
      add_duration(*out, 2, b.compute_input);
      add_duration(*out, 3, b.compute_infer);
      add_duration(*out, 4, b.compute_output);
    }
  }
}

Json statistics_json(const std::vector<runtime::ModelStatistics>& models) {
  Json list = Json::array();
  for (const runtime::ModelStatistics& m : models) {
    Json batches = Json::array();
    for (const auto& b : m.batches)
      batches.push_back({{"batch_size", b.size},
                         {"compute_input", duration_json(b.compute_input)},
                         {"compute_infer", duration_json(b.compute_infer)},
                         {"compute_output", duration_json(b.compute_output)}});
    list.push_back({{"name", m.name},
                    {"version", std::to_string(m.version)},
                    {"last_inference", m.last_inference_ms},
                    {"inference_count", m.inference_count},
                    {"execution_count", m.execution_count},
                    {"inference_stats",
                     {{"success", duration_json(m.success)},
                      {"fail", duration_json(m.fail)},
                      {"queue", duration_json(m.queue)},
                      {"compute_input", duration_json(m.compute_input)},
                      {"compute_infer", duration_json(m.compute_infer)},
                      {"compute_output", duration_json(m.compute_output)},
                      {"cache_hit", duration_json({})},
                      {"cache_miss", duration_json({})}}},
                    {"response_stats", Json::object()},
                    {"batch_stats", std::move(batches)},
                    {"memory_usage", Json::array()}});
  }
  return {{"model_stats", std::move(list)}};
}

}  // namespace verge::net
