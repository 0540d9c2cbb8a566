// Writes .tflite files for tests: sound ones, and ones that LiteRT must not see.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace verge::testing_tflite {

// A FlatBuffer written from front to back: a table first, then what it points to.
class Writer {
 public:
  std::string bytes;

  void align(size_t to, size_t remainder = 0) {
    while (bytes.size() % to != remainder) bytes.push_back(0);
  }
  template <typename T>
  void put(size_t at, T value) {
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }
  // A table with the fields 0..count-1, each of eight bytes; fields never set are absent.
  struct Table {
    size_t vtable = 0, at = 0;
  };
  Table table(size_t count) {
    align(8);
    Table t;
    t.vtable = bytes.size();
    bytes.resize(bytes.size() + 4 + 2 * count);
    align(8);
    t.at = bytes.size();
    bytes.resize(bytes.size() + 8 + 8 * count);
    put<uint16_t>(t.vtable, static_cast<uint16_t>(4 + 2 * count));
    put<uint16_t>(t.vtable + 2, static_cast<uint16_t>(8 + 8 * count));
    put<int32_t>(t.at, static_cast<int32_t>(t.at - t.vtable));
    return t;
  }
  size_t field(const Table& t, size_t index) {
    put<uint16_t>(t.vtable + 4 + 2 * index, static_cast<uint16_t>(8 + 8 * index));
    return t.at + 8 + 8 * index;
  }
  template <typename T>
  void set(const Table& t, size_t index, T value) {
    put<T>(field(t, index), value);
  }
  void link(size_t from, size_t to) { put<uint32_t>(from, static_cast<uint32_t>(to - from)); }
  template <typename T>
  size_t vector(const std::vector<T>& values) {
    align(16, 12);
    const size_t at = bytes.size();
    bytes.resize(at + 4 + values.size() * sizeof(T) + 1);
    put<uint32_t>(at, static_cast<uint32_t>(values.size()));
    if (!values.empty()) std::memcpy(bytes.data() + at + 4, values.data(), values.size() * sizeof(T));
    return at;
  }
  size_t string(const std::string& s) { return vector(std::vector<char>(s.begin(), s.end())); }
  // Tables, written by `write(i)` after the vector that lists them.
  void tables(size_t from, size_t count, const std::function<size_t(size_t)>& write) {
    const size_t at = vector(std::vector<uint32_t>(count));
    link(from, at);
    for (size_t i = 0; i < count; ++i) {
      const size_t entry = at + 4 + 4 * i;
      link(entry, write(i));
    }
  }
};

struct TensorSpec {
  std::string name;
  std::vector<int32_t> shape;
  int8_t type = 0;  // float32
  std::string content = {};
  std::vector<int32_t> signature = {};
  std::vector<float> scales = {};
  std::vector<int64_t> zero_points = {};
  int32_t dimension = 0;
  bool variable = false;
};

struct OperatorSpec {
  int32_t code = 0;
  std::vector<int32_t> inputs, outputs;
  std::string custom = {};
  uint8_t options_type = 0;
  std::vector<int32_t> options = {};  // 32-bit fields from 0
};

struct GraphSpec {
  std::vector<TensorSpec> tensors;
  std::vector<OperatorSpec> operators;
  std::vector<int32_t> inputs, outputs;
};

inline std::string write_tflite(const std::vector<GraphSpec>& graphs) {
  Writer w;
  w.bytes.assign(8, 0);
  std::memcpy(w.bytes.data() + 4, "TFL3", 4);
  const Writer::Table model = w.table(8);
  w.link(0, model.at);
  w.set<uint32_t>(model, 0, 3);
  std::vector<const OperatorSpec*> codes;
  std::vector<const std::string*> contents = {nullptr};
  for (const GraphSpec& g : graphs)
    for (const OperatorSpec& op : g.operators) codes.push_back(&op);
  w.tables(w.field(model, 1), codes.size(), [&](size_t i) {
    const Writer::Table code = w.table(4);
    w.set<int8_t>(code, 0, static_cast<int8_t>(codes[i]->code > 126 ? 127 : codes[i]->code));
    w.set<int32_t>(code, 3, codes[i]->code);
    w.set<int32_t>(code, 2, 1);
    if (!codes[i]->custom.empty()) {
      const size_t name = w.string(codes[i]->custom);
      w.link(w.field(code, 1), name);
    }
    return code.at;
  });
  uint32_t next_code = 0;
  w.tables(w.field(model, 2), graphs.size(), [&](size_t g) {
    const GraphSpec& spec = graphs[g];
    const Writer::Table graph = w.table(5);
    w.tables(w.field(graph, 0), spec.tensors.size(), [&](size_t i) {
      const TensorSpec& t = spec.tensors[i];
      const Writer::Table tensor = w.table(8);
      w.set<int8_t>(tensor, 1, t.type);
      if (!t.content.empty()) {
        w.set<uint32_t>(tensor, 2, static_cast<uint32_t>(contents.size()));
        contents.push_back(&t.content);
      }
      w.set<uint8_t>(tensor, 5, t.variable);
      const size_t shape = w.vector(t.shape);
      w.link(w.field(tensor, 0), shape);
      const size_t name = w.string(t.name);
      w.link(w.field(tensor, 3), name);
      if (!t.signature.empty()) {
        const size_t signature = w.vector(t.signature);
        w.link(w.field(tensor, 7), signature);
      }
      if (!t.scales.empty()) {
        const Writer::Table q = w.table(7);
        w.link(w.field(tensor, 4), q.at);
        w.set<int32_t>(q, 6, t.dimension);
        const size_t scales = w.vector(t.scales);
        w.link(w.field(q, 2), scales);
        const size_t zeros = w.vector(t.zero_points);
        w.link(w.field(q, 3), zeros);
      }
      return tensor.at;
    });
    const size_t inputs = w.vector(spec.inputs), outputs = w.vector(spec.outputs);
    w.link(w.field(graph, 1), inputs);
    w.link(w.field(graph, 2), outputs);
    w.tables(w.field(graph, 3), spec.operators.size(), [&](size_t i) {
      const OperatorSpec& o = spec.operators[i];
      const Writer::Table op = w.table(6);
      w.set<uint32_t>(op, 0, next_code++);
      const size_t ins = w.vector(o.inputs), outs = w.vector(o.outputs);
      w.link(w.field(op, 1), ins);
      w.link(w.field(op, 2), outs);
      if (o.options_type) {
        w.set<uint8_t>(op, 3, o.options_type);
        const Writer::Table options = w.table(o.options.size());
        w.link(w.field(op, 4), options.at);
        for (size_t k = 0; k < o.options.size(); ++k) w.set<int32_t>(options, k, o.options[k]);
      }
      return op.at;
    });
    return graph.at;
  });
  w.tables(w.field(model, 4), contents.size(), [&](size_t i) {
    const Writer::Table buffer = w.table(1);
    if (contents[i]) {
      const size_t data = w.string(*contents[i]);
      w.link(w.field(buffer, 0), data);
    }
    return buffer.at;
  });
  w.align(16);
  return std::move(w.bytes);
}

template <typename T>
std::string content(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

}  // namespace verge::testing_tflite
