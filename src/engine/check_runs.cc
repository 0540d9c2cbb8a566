// The clauses about runs: buffers, bad tensors, threads, and what must come back when a model goes.
#include <algorithm>
#include <cstring>
#include <optional>
#include <thread>

#include "engine/check_clauses.h"
#include "os/files.h"
#include "os/process.h"

namespace verge::engine::check {
namespace {

struct Loaded {
  Loaded(const Descriptor& d, const std::string& artifact, const std::string& format)
      : fixture(d, artifact, format), model(fixture.load()), instance(model.instance()), outputs(model.info().output_count) {}
  Fixture fixture;
  LoadedModel model;
  LoadedInstance instance;
  size_t outputs;
};

void runs(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Loaded l(d, artifact, format);
  auto answers = l.instance.answer(l.model.inputs(l.model.batch(1)), l.outputs);
  for (uint32_t i = 0; i < answers.size(); ++i) {
    const verge_tensor_info& t = l.model.output(i);
    const std::string where = "output '" + std::string(t.name) + "': ";
    expect(answers[i].dtype == t.dtype, where + "has another type than described");
    expect(t.rank < 0 || static_cast<int>(answers[i].dims.size()) == t.rank, where + "has another rank than described");
    for (int k = 0; k < t.rank; ++k) {
      expect(t.dims[k] < 0 || t.dims[k] == answers[i].dims[static_cast<size_t>(k)], where + "has another shape than described");
    }
    if (t.batch_axis >= 0) {
      expect(answers[i].dims[static_cast<size_t>(t.batch_axis)] == l.model.batch(1), where + "does not have the batch size that went in");
    }
  }
}

void repeats(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Loaded l(d, artifact, format);
  const int64_t batch = l.model.batch(2);
  auto a = l.model.inputs(batch, 1), b = l.model.inputs(batch, 2);
  auto first_a = l.instance.answer(a, l.outputs), first_b = l.instance.answer(b, l.outputs);
  for (int i = 0; i < 20; ++i) {
    auto again = l.instance.answer(i % 2 ? a : b, l.outputs);
    expect(equal(again, i % 2 ? first_a : first_b), "run " + std::to_string(i) + " answered " + describe(again));
  }
}

void batches(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Loaded l(d, artifact, format);
  const verge_model_info& info = l.model.info();
  std::vector<int64_t> sizes = {1, 3, 8, 2, 1};
  if (info.fixed_batch_count > 0) {
    sizes.assign(info.fixed_batches, info.fixed_batches + info.fixed_batch_count);
    int64_t not_there = sizes.back() + 1;
    bool has_axis = info.input_count > 0 && l.model.input(0).batch_axis >= 0;
    if (has_axis) {
      std::vector<verge_tensor> outputs(l.outputs);
      for (verge_tensor& t : outputs) t.size = sizeof t;
      expect(!l.instance.run(l.model.inputs(not_there), outputs).ok(), "batch " + std::to_string(not_there) + ", which is not listed, ran");
    }
  } else if (!(l.fixture.v->capabilities & VERGE_CAP_DYNAMIC_BATCH)) {
    throw Skipped{"one batch size only"};
  }
  for (int64_t size : sizes) {
    auto answers = l.instance.answer(l.model.inputs(size), l.outputs);
    for (uint32_t i = 0; i < answers.size(); ++i) {
      int axis = l.model.output(i).batch_axis;
      expect(axis < 0 || answers[i].dims[static_cast<size_t>(axis)] == size, "batch " + std::to_string(size) + " answered " + describe(answers));
    }
  }
}

// Memory for outputs, with a pattern behind each that must stay.
struct Lent {
  static constexpr unsigned char kGuard = 0xA5;
  explicit Lent(const std::vector<Answer>& like, int64_t change) {
    for (const Answer& a : like) {
      int64_t capacity = std::max<int64_t>(0, static_cast<int64_t>(a.bytes.size()) + change);
      memory.emplace_back(static_cast<size_t>(capacity) / 8 + 32, 0);
      auto* bytes = reinterpret_cast<unsigned char*>(memory.back().data());
      std::memset(bytes, kGuard, memory.back().size() * 8);
      verge_tensor t{};
      t.size = sizeof t;
      t.data = bytes;
      t.byte_size = static_cast<uint64_t>(capacity);
      capacities.push_back(t.byte_size);
      tensors.push_back(t);
    }
  }
  void expect_guards(const char* when) const {
    for (size_t i = 0; i < memory.size(); ++i) {
      const auto* bytes = reinterpret_cast<const unsigned char*>(memory[i].data());
      for (size_t k = capacities[i]; k < memory[i].size() * 8; ++k) {
        expect(bytes[k] == kGuard, std::string(when) + ": bytes behind the lent buffer were written");
      }
    }
  }
  std::vector<std::vector<uint64_t>> memory;
  std::vector<uint64_t> capacities;
  std::vector<verge_tensor> tensors;
};

void lent_buffers(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Loaded l(d, artifact, format);
  auto inputs = l.model.inputs(l.model.batch(2));
  auto expected = l.instance.answer(inputs, l.outputs);
  for (int64_t change : {int64_t{0}, int64_t{64}, int64_t{-1}, int64_t{-1'000'000}}) {
    Lent lent(expected, change);
    const char* when = change == 0 ? "exact buffers" : change > 0 ? "larger buffers" : "buffers that are too small";
    for (int i = 0; i < 3; ++i) {
      std::vector<verge_tensor> outputs = lent.tensors;
      Call call = l.instance.run(inputs, outputs);
      expect(call.ok(), std::string(when) + ": " + call.to_string());
      for (size_t k = 0; k < outputs.size(); ++k) {
        const verge_tensor_info& info = l.model.output(static_cast<uint32_t>(k));
        bool known = info.dtype != VERGE_BYTES && info.rank >= 0;
        for (int x = 0; x < info.rank; ++x) known = known && (info.dims[x] >= 0 || x == info.batch_axis);
        if ((l.fixture.v->capabilities & VERGE_CAP_EXTERNAL_OUTPUTS) && change >= 0 && known && !expected[k].bytes.empty()) {
          expect(outputs[k].data == lent.tensors[k].data, std::string(when) + ": the lent buffer was not used, as VERGE_CAP_EXTERNAL_OUTPUTS promises");
        }
      }
      auto answers = copy_outputs(outputs);
      expect(equal(answers, expected), std::string(when) + ": " + describe(answers) + " instead of " + describe(expected));
      lent.expect_guards(when);
    }
  }
  expect(equal(l.instance.answer(inputs, l.outputs), expected), "without buffers again: another answer");
}

void bad_tensors(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Loaded l(d, artifact, format);
  if (l.model.info().input_count == 0) throw Skipped{"the model has no inputs"};
  const auto good = l.model.inputs(l.model.batch(2));
  auto expected = l.instance.answer(good, l.outputs);
  auto refuses = [&](const char* what, const std::vector<Buffer>& inputs, size_t output_count) {
    std::vector<verge_tensor> outputs(output_count);
    for (verge_tensor& t : outputs) t.size = sizeof t;
    Call call = l.instance.run(inputs, outputs);
    expect(!call.ok(), std::string(what) + " was accepted");
    expect(!call.message.empty(), std::string(what) + ": the error has no message");
    auto answers = l.instance.answer(good, l.outputs);
    expect(equal(answers, expected), std::string("after ") + what + ": " + describe(answers) + " instead of " + describe(expected));
  };
  auto changed = [&](auto change) {
    std::vector<Buffer> inputs = l.model.inputs(l.model.batch(2));
    change(inputs[0]);
    return inputs;
  };
  refuses("another element type", changed([](Buffer& b) { b.tensor.dtype = b.tensor.dtype == VERGE_UINT8 ? VERGE_INT8 : VERGE_UINT8; }), l.outputs);
  refuses("a further dimension", changed([](Buffer& b) {
            b.tensor.dims[b.tensor.rank] = 1;
            ++b.tensor.rank;
          }),
          l.outputs);
  refuses("a negative dimension", changed([](Buffer& b) { b.tensor.dims[0] = -1; }), l.outputs);
  refuses("a shape of 2^60 elements", changed([](Buffer& b) { b.tensor.dims[0] = int64_t{1} << 60; }), l.outputs);
  refuses("too few bytes", changed([](Buffer& b) { --b.tensor.byte_size; }), l.outputs);
  refuses("data that is NULL", changed([](Buffer& b) { b.tensor.data = nullptr; }), l.outputs);
  for (uint32_t k = 0; k < good.size(); ++k) {
    const verge_tensor_info& info = l.model.input(k);
    for (int x = 0; x < info.rank; ++x) {
      if (info.dims[x] < 1 || x == info.batch_axis) continue;
      auto inputs = l.model.inputs(l.model.batch(2));
      inputs[k].tensor.dims[x] += 1;
      refuses("another fixed dimension", inputs, l.outputs);
    }
  }
  auto fewer = l.model.inputs(l.model.batch(2));
  fewer.pop_back();
  refuses("an input too few", fewer, l.outputs);
  refuses("an output too many", good, l.outputs + 1);
}

void preferences(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Loaded l(d, artifact, format);
  const int64_t batch = l.model.batch(2);
  auto answers = l.instance.answer(l.model.inputs(batch), l.outputs);
  auto ask = [&](int32_t is_output, uint32_t index, verge_buffer_preference& p) {
    p = {};
    p.size = sizeof p;
    StatusBuffer status;
    return l.fixture.v->instance_preferred_buffer(l.instance.get(), is_output, index, batch, &p, status.get());
  };
  verge_buffer_preference p;
  for (uint32_t i = 0; i < l.outputs; ++i) {
    expect(ask(1, i, p) == VERGE_OK, "output " + std::to_string(i) + ": failed");
    expect(p.alignment > 0 && (p.alignment & (p.alignment - 1)) == 0, "alignment " + std::to_string(p.alignment) + " is no power of two");
    expect(p.bytes == 0 || p.bytes >= answers[i].bytes.size(), "output " + std::to_string(i) + ": fewer bytes than a run returns");
  }
  for (uint32_t i = 0; i < l.model.info().input_count; ++i) expect(ask(0, i, p) == VERGE_OK, "input " + std::to_string(i) + ": failed");
  expect(ask(1, 10'000, p) != VERGE_OK, "an output that does not exist has a preference");
  expect(ask(0, 10'000, p) != VERGE_OK, "an input that does not exist has a preference");
}

void info_is_stable(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Loaded l(d, artifact, format);
  const verge_model_info* before = l.fixture.v->model_info(l.model.get());
  verge_model_info copy = *before;
  std::string name = l.model.output(0).name;
  l.instance.answer(l.model.inputs(l.model.batch(1)), l.outputs);
  const verge_model_info* after = l.fixture.v->model_info(l.model.get());
  expect(before == after && std::memcmp(&copy, after, std::min<size_t>(copy.size, sizeof copy)) == 0, "model_info changed");
  expect(name == l.model.output(0).name, "a name changed");
}

void two_threads(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Fixture f(d, artifact, format);
  LoadedModel m = f.load();
  LoadedInstance a = m.instance(), b = m.instance();
  const size_t outputs = m.info().output_count;
  const int64_t batch = m.batch(2);
  auto input_a = m.inputs(batch, 1), input_b = m.inputs(batch, 2);
  auto expected_a = a.answer(input_a, outputs), expected_b = a.answer(input_b, outputs);
  auto loop = [&](const LoadedInstance& i, const std::vector<Buffer>& in, const std::vector<Answer>& expected, std::string& wrong) {
    try {
      for (int n = 0; n < 200 && wrong.empty(); ++n) {
        auto answers = i.answer(in, outputs);
        if (!equal(answers, expected)) wrong = "run " + std::to_string(n) + ": " + describe(answers) + " instead of " + describe(expected);
      }
    } catch (const Failed& e) {
      wrong = e.what;
    }
  };
  std::string wrong_a, wrong_b;
  std::thread other([&] { loop(b, input_b, expected_b, wrong_b); });
  loop(a, input_a, expected_a, wrong_a);
  other.join();
  expect(wrong_a.empty() && wrong_b.empty(), wrong_a + wrong_b);
}

void more_threads(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Fixture f(d, artifact, format);
  LoadedModel one = f.load(1), two = f.load(2);
  const size_t outputs = one.info().output_count;
  auto inputs = one.inputs(one.batch(2));
  auto expected = one.instance(1).answer(inputs, outputs);
  expect(equal(two.instance(2).answer(inputs, outputs), expected), "two threads: another answer");
  expect(equal(one.instance(2).answer(inputs, outputs), expected), "an instance of other threads than its model: another answer");
  verge_model* all = nullptr;
  Call call = f.load(artifact, format, {}, 0, &all);
  expect(call.ok(), "threads 0, one for each core: " + call.to_string());
  LoadedModel every(f.v, all);
  expect(equal(every.instance(0).answer(inputs, outputs), expected), "one thread for each core: another answer");
}

void cancelling(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Loaded l(d, artifact, format);
  if (!(l.fixture.v->capabilities & VERGE_CAP_CANCEL)) throw Skipped{"the engine does not cancel"};
  auto inputs = l.model.inputs(l.model.batch(1));
  auto expected = l.instance.answer(inputs, l.outputs);
  l.fixture.v->instance_cancel(l.instance.get());
  expect(equal(l.instance.answer(inputs, l.outputs), expected), "after a cancel with nothing under way: another answer");
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) l.fixture.v->instance_cancel(l.instance.get());
  });
  std::string wrong;
  for (int i = 0; i < 50 && wrong.empty(); ++i) {
    std::vector<verge_tensor> outputs(l.outputs);
    for (verge_tensor& t : outputs) t.size = sizeof t;
    Call call = l.instance.run(inputs, outputs);
    if (call.ok()) {
      copy_outputs(outputs);
    } else if (call.code != VERGE_CANCELLED) {
      wrong = "a cancelled run ended with " + call.to_string();
    }
  }
  stop = true;
  other.join();
  expect(wrong.empty(), wrong);
  expect(equal(l.instance.answer(inputs, l.outputs), expected), "after cancelled runs: another answer");
}

size_t count_in(const char* folder) {
  auto names = os::list_dir(folder);
  return names.ok() ? names->size() : 0;
}

void use_once(Fixture& f) {
  LoadedModel m = f.load();
  LoadedInstance i = m.instance();
  i.answer(m.inputs(m.batch(2)), m.info().output_count);
}

void order_of_ends(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Fixture f(d, artifact, format);
  {
    std::optional<LoadedModel> first(f.load()), second(f.load());
    LoadedInstance kept = second->instance();
    auto inputs = second->inputs(second->batch(1));
    const size_t outputs = second->info().output_count;
    auto expected = kept.answer(inputs, outputs);
    {
      LoadedInstance of_first = first->instance();
      of_first.answer(inputs, outputs);
    }
    first.reset();
    expect(equal(kept.answer(inputs, outputs), expected), "after another model's unload: another answer");
  }
  use_once(f);
  f.destroy();
  expect(f.host.allocations() == 0, std::to_string(f.host.allocations()) + " pieces of the host's memory were not given back");
  for (const auto& [what, bytes] : f.host.accounts()) {
    expect(bytes == 0, "account '" + what + "' ends at " + std::to_string(bytes) + " bytes");
  }
}

void nothing_left(const Descriptor& d, const std::string& artifact, const std::string& format) {
  Fixture f(d, artifact, format);
  // The first loads may start what stays: thread pools, mapped libraries.
  for (int i = 0; i < 3; ++i) use_once(f);
  size_t files = count_in("/proc/self/fd"), threads = count_in("/proc/self/task");
  for (int i = 0; i < 7; ++i) use_once(f);
  size_t files_after = count_in("/proc/self/fd"), threads_after = count_in("/proc/self/task");
  expect(files_after <= files, std::to_string(files_after) + " open files after ten loads, " + std::to_string(files) + " after three");
  expect(threads_after <= threads, std::to_string(threads_after) + " threads after ten loads, " + std::to_string(threads) + " after three");
}

void memory_comes_back(const Descriptor& d, const std::string& artifact, const std::string& format) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  throw Skipped{"a sanitizer keeps freed memory"};
#endif
  Fixture f(d, artifact, format);
  uint64_t early = 0, late = 0;
  for (int i = 0; i < 20; ++i) {
    use_once(f);
    trim_memory();
    (i < 10 ? early : late) = std::max(i < 10 ? early : late, os::resident_bytes());
  }
  expect(late <= early + early / 50 + (1 << 20), "resident after unloads 11 to 20: up to " + std::to_string(late >> 10) + " KiB, after 1 to 10: " +
                                                     std::to_string(early >> 10) + " KiB");
}

void runs_do_not_grow(const Descriptor& d, const std::string& artifact, const std::string& format) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  throw Skipped{"a sanitizer keeps freed memory"};
#endif
  Loaded l(d, artifact, format);
  auto inputs = l.model.inputs(l.model.batch(2));
  for (int i = 0; i < 100; ++i) l.instance.answer(inputs, l.outputs);
  uint64_t before = os::resident_bytes();
  for (int i = 0; i < 1000; ++i) l.instance.answer(inputs, l.outputs);
  uint64_t after = os::resident_bytes();
  expect(after <= before + (2 << 20), "1,000 runs took " + std::to_string((after - before) >> 10) + " KiB");
}

}  // namespace

void add_run_clauses(std::vector<Clause>& c) {
  c.push_back({"a run answers in the types and shapes that were described", true, runs});
  c.push_back({"equal inputs get equal answers, run after run", true, repeats});
  c.push_back({"every batch size that is promised runs, no other", true, batches});
  c.push_back({"lent output buffers are used, never overrun, and do without where too small", true, lent_buffers});
  c.push_back({"wrong types, shapes, sizes and counts are refused, and the instance stays usable", true, bad_tensors});
  c.push_back({"preferred buffers are sound", true, preferences});
  c.push_back({"the description stays as it was", true, info_is_stable});
  c.push_back({"two instances run at the same time", true, two_threads});
  c.push_back({"one, two or all threads give one answer", true, more_threads});
  c.push_back({"a cancel is harmless, and ends a run as OK or CANCELLED", true, cancelling});
  c.push_back({"instances, models and engine end in order, and give back what the host lent", true, order_of_ends});
  c.push_back({"open files and threads do not grow with loads", true, nothing_left});
  c.push_back({"memory comes back after unloads", true, memory_comes_back});
  c.push_back({"memory does not grow with runs", true, runs_do_not_grow});
}

}  // namespace verge::engine::check
