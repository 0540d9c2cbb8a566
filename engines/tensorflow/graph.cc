#include "graph.h"

#include <algorithm>
#include <unordered_set>

namespace verge::tensorflow {
namespace {

// clang-format off
// Operators that open files, run foreign code, load libraries or talk to the network, wherever they stand.
constexpr std::string_view kRefused[] = {
    "ReadFile", "WriteFile", "MatchingFiles", "DeleteFile", "CopyFile", "FileSystemSetConfiguration",
    "PyFunc", "PyFuncStateless", "EagerPyFunc", "TRTEngineOp", "CreateTRTResourceHandle", "InitializeTRTResource",
    "InitializeTableFromTextFile", "InitializeTableFromTextFileV2", "LoadAndRemapMatrix", "GenerateVocabRemapping",
    "ReaderRead", "ReaderReadV2", "ReaderReadUpTo", "ReaderReadUpToV2", "DebugIdentity", "DebugIdentityV2", "DebugIdentityV3",
    "RpcClient", "RpcCall", "RpcServer", "TryRpc", "Rpc", "RemoteCall", "RemoteFusedGraphExecute", "LMDBReader", "LMDBDataset"};
// The same by a part of their names: readers, data sets on files, summary writers, data services.
constexpr std::string_view kRefusedParts[] = {
    "FileDataset", "TextLine", "TFRecord", "FixedLengthRecord", "WholeFileReader", "SqlDataset", "SaveDataset", "LoadDataset",
    "SnapshotDataset", "CacheDataset", "DataService", "SummaryWriter", "SummaryFileWriter", "SummaryDbWriter", "LoadLibrary", "Bigtable"};
constexpr std::string_view kSaving[] = {"SaveV2", "Save", "SaveSlices", "MergeV2Checkpoints", "ShardedFilename", "ShardedFilespec"};
constexpr std::string_view kRestoring[] = {"RestoreV2", "Restore", "RestoreSlice"};
// Parts of the names of operators that store tensors past a run.
constexpr std::string_view kStoring[] = {"Assign", "Insert", "Enqueue", "StackPush", "Stage", "ScatterUpdate", "Barrier"};
constexpr std::string_view kProducts[] = {
    "Conv2D", "Conv3D", "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "DepthwiseConv2dNative", "Conv2DBackpropInput",
    "Einsum", "_FusedMatMul", "_FusedConv2D", "Conv"};
// clang-format on

template <size_t N>
bool one_of(std::string_view op, const std::string_view (&list)[N]) {
  return std::find(std::begin(list), std::end(list), op) != std::end(list);
}
template <size_t N>
bool has_part(std::string_view op, const std::string_view (&list)[N]) {
  return std::any_of(std::begin(list), std::end(list), [&](std::string_view part) { return op.find(part) != std::string_view::npos; });
}

// "^node", "node:1" -> "node"
std::string_view node_of(std::string_view tensor) {
  if (!tensor.empty() && tensor.front() == '^') tensor.remove_prefix(1);
  return tensor.substr(0, tensor.find(':'));
}

}  // namespace

Graph::Node Graph::read_node(std::string_view bytes, bool with_inputs) {
  Node node;
  Wire w(bytes);
  while (w.next()) {
    if (w.field() == 1) node.name = w.bytes();
    if (w.field() == 2) node.op = w.bytes();
    if (w.field() == 3 && with_inputs) node.inputs.push_back(node_of(w.bytes()));
    if (w.field() != 5) continue;
    std::string_view key, value;
    Wire entry(w.bytes());
    while (entry.next()) {
      if (entry.field() == 1) key = entry.bytes();
      if (entry.field() == 2) value = entry.bytes();
    }
    auto call = [&](std::string_view function) {
      Wire f(function);
      while (f.next())
        if (f.field() == 1) node.calls.push_back(f.bytes());
      broken_ = broken_ || f.broken();
    };
    Wire attribute(value);
    while (attribute.next()) {
      if (attribute.field() == 2 && key == "output_stream" && attribute.bytes().substr(0, 5) == "file:") node.prints_to_file = true;
      if (attribute.field() == 6 && key == "T") node.type = static_cast<int>(attribute.number());
      if (attribute.field() == 10) call(attribute.bytes());
      if (attribute.field() != 1) continue;
      Wire list(attribute.bytes());
      while (list.next())
        if (list.field() == 9) call(list.bytes());
      broken_ = broken_ || list.broken();
    }
    broken_ = broken_ || entry.broken() || attribute.broken();
  }
  broken_ = broken_ || w.broken();
  return node;
}

void Graph::read(std::string_view graph_def) {
  Wire graph(graph_def);
  while (graph.next()) {
    if (graph.field() == 1) nodes_.push_back(read_node(graph.bytes(), true));
    if (graph.field() != 2) continue;
    Wire library(graph.bytes());
    while (library.next()) {
      if (library.field() != 1) continue;
      std::string_view name;
      Nodes nodes;
      Wire function(library.bytes());
      while (function.next()) {
        if (function.field() == 1) {
          Wire signature(function.bytes());
          while (signature.next())
            if (signature.field() == 1) name = signature.bytes();
          broken_ = broken_ || signature.broken();
        }
        if (function.field() == 3) nodes.push_back(read_node(function.bytes(), false));
      }
      broken_ = broken_ || function.broken();
      auto& known = functions_[name];
      known.insert(known.end(), nodes.begin(), nodes.end());
    }
    broken_ = broken_ || library.broken();
  }
  broken_ = broken_ || graph.broken();
  by_name_.clear();
  for (size_t i = 0; i < nodes_.size(); ++i) by_name_.emplace(nodes_[i].name, i);
}

bool Graph::has_variables() const {
  return std::any_of(nodes_.begin(), nodes_.end(),
                     [](const Node& n) { return n.op == "VarHandleOp" || n.op == "VariableV2" || n.op == "Variable"; });
}

Reach Graph::reach(const std::vector<std::string_view>& from) const {
  Reach out;
  std::vector<size_t> open;
  std::vector<std::string_view> open_functions;
  std::unordered_set<std::string_view> seen_functions;
  std::vector<bool> seen(nodes_.size(), false);
  auto want = [&](std::string_view name) {
    auto it = by_name_.find(name);
    if (it == by_name_.end() || seen[it->second]) return;
    seen[it->second] = true;
    open.push_back(it->second);
  };
  auto call = [&](std::string_view name) {
    if (functions_.count(name) && seen_functions.insert(name).second) open_functions.push_back(name);
  };
  auto visit = [&](const Node& node) {
    out.saves = out.saves || one_of(node.op, kSaving);
    out.restores = out.restores || one_of(node.op, kRestoring);
    out.keeps_state = out.keeps_state || has_part(node.op, kStoring);
    if (one_of(node.op, kProducts)) ++out.product_types[node.type];
    for (std::string_view f : node.calls) call(f);
    call(node.op);
  };
  for (std::string_view name : from) want(node_of(name));
  while (!open.empty() || !open_functions.empty()) {
    if (!open.empty()) {
      const Node& node = nodes_[open.back()];
      open.pop_back();
      for (std::string_view input : node.inputs) want(input);
      visit(node);
      continue;
    }
    const Nodes& body = functions_.at(open_functions.back());
    open_functions.pop_back();
    for (const Node& node : body) visit(node);
  }
  return out;
}

std::string Graph::refused(const std::vector<std::string_view>& served, const std::vector<std::string_view>& at_load) const {
  const auto denied = [](const Nodes& nodes) -> std::string_view {
    for (const Node& node : nodes)
      if (one_of(node.op, kRefused) || has_part(node.op, kRefusedParts) || node.prints_to_file) return node.op;
    return {};
  };
  std::string_view op = denied(nodes_);
  for (auto it = functions_.begin(); op.empty() && it != functions_.end(); ++it) op = denied(it->second);
  if (!op.empty())
    return "has the operator " + std::string(op.substr(0, 64)) +
           ", which reaches for files, foreign code or the network and is not run; save the model without it";
  const Reach serving = reach(served);
  if (serving.saves || serving.restores)
    return std::string("has a signature that reaches a ") + (serving.saves ? "SaveV2" : "RestoreV2") + " operator, which " +
           (serving.saves ? "writes" : "reads") + " files and is not run; save the model without it";
  if (reach(at_load).saves) return "runs a SaveV2 operator when it is loaded, which writes files and is not run; save the model again";
  return {};
}

}  // namespace verge::tensorflow
