#include "saved_model.h"

#include <algorithm>
#include <array>
#include <set>
#include <unordered_map>

#include "graph.h"
#include "wire.h"

namespace verge::tensorflow {
namespace {

constexpr size_t kMaxTensors = 1024;

// Whether a name can be shown: printable UTF-8 of sensible length.
bool is_text(std::string_view s) {
  if (s.empty() || s.size() > 1024) return false;
  for (size_t i = 0; i < s.size();) {
    const auto c = static_cast<unsigned char>(s[i]);
    const size_t n = c < 0x80 ? 1 : (c >> 5) == 6 ? 2 : (c >> 4) == 14 ? 3 : (c >> 3) == 30 ? 4 : 0;
    if (n == 0 || c < 0x20 || c == 0x7f || i + n > s.size()) return false;
    for (size_t k = 1; k < n; ++k)
      if ((static_cast<unsigned char>(s[i + k]) & 0xC0) != 0x80) return false;
    i += n;
  }
  return true;
}

// "output_2" before "output_10".
bool natural_less(const std::string& a, const std::string& b) {
  size_t i = 0, k = 0;
  auto digit = [](char c) { return c >= '0' && c <= '9'; };
  while (i < a.size() && k < b.size()) {
    if (digit(a[i]) && digit(b[k])) {
      size_t i_end = i, k_end = k;
      while (i_end < a.size() && digit(a[i_end])) ++i_end;
      while (k_end < b.size() && digit(b[k_end])) ++k_end;
      while (i + 1 < i_end && a[i] == '0') ++i;
      while (k + 1 < k_end && b[k] == '0') ++k;
      if (i_end - i != k_end - k) return i_end - i < k_end - k;
      for (; i < i_end; ++i, ++k)
        if (a[i] != b[k]) return a[i] < b[k];
      continue;
    }
    if (a[i] != b[k]) return a[i] < b[k];
    ++i, ++k;
  }
  return a.size() - i < b.size() - k;
}

// A protobuf map entry: key 1, value 2.
void read_entry(std::string_view bytes, std::string_view& key, std::string_view& value, bool& broken) {
  Wire w(bytes);
  while (w.next()) {
    if (w.field() == 1) key = w.bytes();
    if (w.field() == 2) value = w.bytes();
  }
  broken = broken || w.broken();
}

class Reader {
 public:
  explicit Reader(SavedModel& out) : out_(out) {}

  std::string run(std::string_view bytes) {
    Wire file(bytes);
    std::string_view chosen;
    std::string tags;
    while (file.next()) {
      if (file.field() != 2) continue;
      bool serve = false;
      Wire meta(file.bytes());
      while (meta.next()) {
        if (meta.field() != 1) continue;
        Wire info(meta.bytes());
        while (info.next()) {
          if (info.field() != 4) continue;
          serve = serve || info.bytes() == "serve";
          tags += (tags.empty() ? "" : ", ") + std::string(is_text(info.bytes()) ? info.bytes() : "?");
        }
      }
      if (serve && chosen.empty()) chosen = file.bytes();
    }
    if (file.broken()) return "is damaged: its messages do not hold together";
    if (chosen.empty()) return "has no graph tagged 'serve'; its tags are: " + (tags.empty() ? "none" : tags);
    return read_graph(chosen);
  }

 private:
  std::string read_graph(std::string_view meta_graph) {
    Wire w(meta_graph);
    std::vector<std::string_view> at_load;
    while (w.next()) {
      if (w.field() == 2) graph_.read(w.bytes());
      if (w.field() == 3) {
        Wire saver(w.bytes());
        while (saver.next())
          if (saver.field() == 3) at_load.push_back(saver.bytes());
        broken_ = broken_ || saver.broken();
      }
      if (w.field() == 4) read_collection(w.bytes(), at_load);
      if (w.field() == 5) read_signature(w.bytes(), at_load);
    }
    if (w.broken() || broken_ || graph_.broken()) return "is damaged: its messages do not hold together";
    if (out_.signatures.empty()) return "has no signature; save it with one: tf.saved_model.save(model, path, signatures=…)";
    std::vector<std::string_view> served;
    for (const SignatureEntry& s : out_.signatures) {
      if (s.outputs.size() > kMaxTensors || s.inputs.size() > kMaxTensors) return "has a signature with more than 1,024 tensors";
      for (const TensorEntry& t : s.outputs) served.push_back(t.tensor);
      for (const auto* list : {&s.inputs, &s.outputs})
        for (const TensorEntry& t : *list)
          if (!is_text(t.name) || !is_text(s.key)) return "is damaged: a name in its signatures is no text";
    }
    if (std::string wrong = graph_.refused(served, at_load); !wrong.empty()) return wrong;
    out_.has_variables = graph_.has_variables();
    const Reach reach = graph_.reach(served);
    out_.keeps_state = reach.keeps_state;
    out_.product_types = reach.product_types;
    return {};
  }

  void read_collection(std::string_view bytes, std::vector<std::string_view>& at_load) {
    std::string_view key, value;
    read_entry(bytes, key, value, broken_);
    if (key != "saved_model_main_op" && key != "legacy_init_op") return;
    Wire collection(value);
    while (collection.next()) {
      if (collection.field() != 1) continue;  // node_list
      Wire nodes(collection.bytes());
      while (nodes.next())
        if (nodes.field() == 1) at_load.push_back(nodes.bytes());
      broken_ = broken_ || nodes.broken();
    }
    broken_ = broken_ || collection.broken();
  }

  void read_signature(std::string_view bytes, std::vector<std::string_view>& at_load) {
    SignatureEntry s;
    std::string_view key, value;
    read_entry(bytes, key, value, broken_);
    s.key = std::string(key);
    Wire def(value);
    while (def.next()) {
      if (def.field() != 1 && def.field() != 2) continue;
      std::string_view name, info;
      read_entry(def.bytes(), name, info, broken_);
      if (key == "__saved_model_init_op") {
        Wire t(info);
        while (t.next())
          if (t.field() == 1) at_load.push_back(t.bytes());
        continue;
      }
      TensorEntry entry;
      entry.name = std::string(name);
      read_tensor(info, entry, s);
      (def.field() == 1 ? s.inputs : s.outputs).push_back(std::move(entry));
    }
    broken_ = broken_ || def.broken();
    if (key == "__saved_model_init_op") return;
    auto by_name = [](const TensorEntry& a, const TensorEntry& b) { return natural_less(a.name, b.name); };
    std::sort(s.inputs.begin(), s.inputs.end(), by_name);
    std::sort(s.outputs.begin(), s.outputs.end(), by_name);
    if (s.outputs.empty()) s.unsupported = "it has no outputs";
    out_.signatures.push_back(std::move(s));
  }

  void read_tensor(std::string_view bytes, TensorEntry& entry, SignatureEntry& signature) {
    Wire w(bytes);
    while (w.next()) {
      if (w.field() == 1) entry.tensor = std::string(w.bytes());
      if (w.field() == 2) entry.dtype = static_cast<int>(w.number());
      if (w.field() == 3) {
        entry.unknown_rank = false;
        Wire shape(w.bytes());
        while (shape.next()) {
          if (shape.field() == 3 && shape.number()) entry.unknown_rank = true;
          if (shape.field() != 2) continue;
          int64_t size = 0;
          Wire dim(shape.bytes());
          while (dim.next())
            if (dim.field() == 1) size = static_cast<int64_t>(dim.number());
          broken_ = broken_ || dim.broken();
          entry.dims.push_back(size < 0 ? -1 : size);
        }
        broken_ = broken_ || shape.broken();
      }
      if (w.field() == 4 || w.field() == 5)
        signature.unsupported = "tensor '" + std::string(is_text(entry.name) ? entry.name : "?") + "' is sparse or composite";
    }
    broken_ = broken_ || w.broken();
    if (entry.tensor.empty() && signature.unsupported.empty()) signature.unsupported = "a tensor has no name in the graph";
    if (entry.dims.size() > 8)
      signature.unsupported = "tensor '" + std::string(is_text(entry.name) ? entry.name : "?") + "' has more than 8 dimensions";
  }

  SavedModel& out_;
  Graph graph_;
  bool broken_ = false;
};

}  // namespace

std::string read_saved_model(std::string_view bytes, SavedModel& out) { return Reader(out).run(bytes); }

const char* tf_type_name(int dtype) {
  static constexpr std::array kNames = {"invalid",   "float32", "float64",    "int32",   "uint8",    "int16",   "int8",     "string",
                                        "complex64", "int64",   "bool",       "qint8",   "quint8",   "qint32",  "bfloat16", "qint16",
                                        "quint16",   "uint16",  "complex128", "float16", "resource", "variant", "uint32",   "uint64"};
  return dtype >= 0 && dtype < static_cast<int>(kNames.size()) ? kNames[static_cast<size_t>(dtype)] : "unknown";
}

}  // namespace verge::tensorflow
