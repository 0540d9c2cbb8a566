#include "tf_api.h"

#include <dlfcn.h>

namespace verge::tensorflow {

std::string load_tensorflow(const std::string& framework, const std::string& library, TfApi& api) {
  // Each looks for symbols in itself first: it brings its own copies of libraries (protobuf, abseil) that the process may have too.
  constexpr int kHow = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
  void* handles[2] = {};
  const std::string* paths[2] = {&framework, &library};
  for (int i = 0; i < 2; ++i) {
    handles[i] = dlopen(paths[i]->c_str(), kHow);
    if (!handles[i]) {
      const char* why = dlerror();
      return "cannot load " + *paths[i] + ": " + (why ? why : "unknown reason");
    }
  }
  std::string missing;
  auto find = [&](auto& function, const char* name) {
    void* symbol = dlsym(handles[1], name);
    if (!symbol) symbol = dlsym(handles[0], name);
    if (!symbol && missing.empty()) missing = name;
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(symbol);
  };
#define VERGE_TF_FIND(name) find(api.name, #name);
  VERGE_TF_FUNCTIONS(VERGE_TF_FIND)
#undef VERGE_TF_FIND
  return missing.empty() ? std::string() : library + " lacks the function " + missing;
}

}  // namespace verge::tensorflow
