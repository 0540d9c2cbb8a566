// A TensorFlow graph and its functions as operators and who feeds whom; enough to say what a signature can reach.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "wire.h"

namespace verge::tensorflow {

struct Reach {
  bool saves = false, restores = false, keeps_state = false;
  std::map<int, int> product_types;
};

class Graph {
 public:
  // A serialised GraphDef. The bytes must outlive this.
  void read(std::string_view graph_def);
  bool broken() const { return broken_; }

  // Why the graph must not be run, or an empty string. `served`: the tensors of the signatures. `at_load`: the operators that loading runs.
  std::string refused(const std::vector<std::string_view>& served, const std::vector<std::string_view>& at_load) const;

  // Whether values come from the variables folder.
  bool has_variables() const;

  // What the named tensors or operators depend on, calls followed.
  Reach reach(const std::vector<std::string_view>& from) const;

 private:
  struct Node {
    std::string_view name, op;
    std::vector<std::string_view> inputs;  // of graph nodes only
    std::vector<std::string_view> calls;   // functions named in attributes
    int type = 0;                          // attribute T
    bool prints_to_file = false;
  };
  using Nodes = std::vector<Node>;
  Node read_node(std::string_view bytes, bool with_inputs);

  Nodes nodes_;
  std::unordered_map<std::string_view, size_t> by_name_;
  std::unordered_map<std::string_view, Nodes> functions_;
  bool broken_ = false;
};

}  // namespace verge::tensorflow
