#include "litert_api.h"

#include <dlfcn.h>

namespace verge::litert {

std::string load_litert(const std::string& path, LrtApi& api) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = dlerror();
    return "cannot load " + path + ": " + (why ? why : "unknown reason");
  }
  std::string missing;
  auto find = [&](auto& function, const char* name) {
    void* symbol = dlsym(library, name);
    if (!symbol && missing.empty()) missing = name;
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(symbol);
  };
#define VERGE_FIND(name) find(api.name, "LiteRt" #name)
  VERGE_FIND(CreateEnvironment);
  VERGE_FIND(DestroyEnvironment);
  VERGE_FIND(CreateModelFromBuffer);
  VERGE_FIND(DestroyModel);
  VERGE_FIND(CreateOptions);
  VERGE_FIND(DestroyOptions);
  VERGE_FIND(SetOptionsHardwareAccelerators);
  VERGE_FIND(CreateOpaqueOptions);
  VERGE_FIND(AddOpaqueOptions);
  VERGE_FIND(DestroyOpaqueOptions);
  VERGE_FIND(CreateCompiledModel);
  VERGE_FIND(DestroyCompiledModel);
  VERGE_FIND(CompiledModelResizeInputTensor);
  VERGE_FIND(GetCompiledModelInputTensorLayout);
  VERGE_FIND(GetCompiledModelOutputTensorLayouts);
  VERGE_FIND(CompiledModelIsFullyAccelerated);
  VERGE_FIND(CompiledModelGetErrorMessages);
  VERGE_FIND(CompiledModelClearErrors);
  VERGE_FIND(RunCompiledModel);
  VERGE_FIND(CreateTensorBufferFromHostMemory);
  VERGE_FIND(DestroyTensorBuffer);
#undef VERGE_FIND
  if (missing.empty()) return {};
  dlclose(library);
  return path + " lacks the function " + missing + "; the plugin is written for ai-edge-litert 2.3";
}

const char* lrt_status_name(LrtStatus status) {
  switch (status) {
    case 0: return "ok";
    case 1: return "invalid argument";
    case 2: return "memory allocation failure";
    case 3: return "runtime failure";
    case 4: return "missing input tensor";
    case 5: return "unsupported";
    case 6: return "not found";
    case 8: return "wrong version";
    case 500: return "file error";
    case 501: return "invalid flatbuffer";
    case 504: return "compilation failed";
    case 1000: return "index out of bounds";
    case 1001: return "invalid type";
    case 1002: return "invalid graph";
    default: return "unknown error";
  }
}

}  // namespace verge::litert
