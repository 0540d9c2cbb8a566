// The part of LiteRT's C interface that the plugin uses, as of ai-edge-litert 2.3. The library has no headers in its package and no
// version query, so every symbol is looked up at load and a missing one refuses the library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace verge::litert {

using LrtStatus = int;  // 0 is success
constexpr LrtStatus kLrtOk = 0;

struct LrtEnvironmentT;
struct LrtModelT;
struct LrtOptionsT;
struct LrtOpaqueOptionsT;
struct LrtCompiledModelT;
struct LrtTensorBufferT;
using LrtEnvironment = LrtEnvironmentT*;
using LrtModel = LrtModelT*;
using LrtOptions = LrtOptionsT*;
using LrtOpaqueOptions = LrtOpaqueOptionsT*;
using LrtCompiledModel = LrtCompiledModelT*;
using LrtTensorBuffer = LrtTensorBufferT*;

constexpr int kLrtMaxRank = 8;
constexpr int kLrtCpu = 1;
// Host memory handed to LiteRT starts at a multiple of this, and this many bytes after it may be read.
constexpr size_t kLrtAlignment = 64;
constexpr size_t kLrtReadPast = 16;

struct LrtLayout {
  unsigned int rank : 7;
  unsigned int has_strides : 1;
  int32_t dimensions[kLrtMaxRank];
  uint32_t strides[kLrtMaxRank];
};
static_assert(sizeof(LrtLayout) == 68);

struct LrtRankedType {
  int32_t element_type;  // the numbers of TfLiteType, not those of the file
  LrtLayout layout;
};
static_assert(sizeof(LrtRankedType) == 72);

struct LrtEnvironmentOption {
  int32_t tag;
  struct {
    int32_t type;
    union {
      int64_t integer;
      const void* pointer;
    };
  } value;
};
static_assert(sizeof(LrtEnvironmentOption) == 24);
constexpr int32_t kLrtTagAccelerators = 24, kLrtTagLogSeverity = 25, kLrtAnyInt = 2, kLrtSilent = 4;

struct LrtApi {
  LrtStatus (*CreateEnvironment)(int, const LrtEnvironmentOption*, LrtEnvironment*);
  void (*DestroyEnvironment)(LrtEnvironment);
  LrtStatus (*CreateModelFromBuffer)(LrtEnvironment, const void*, size_t, LrtModel*);  // keeps pointing to the bytes
  void (*DestroyModel)(LrtModel);
  LrtStatus (*CreateOptions)(LrtOptions*);
  void (*DestroyOptions)(LrtOptions);
  LrtStatus (*SetOptionsHardwareAccelerators)(LrtOptions, int);
  LrtStatus (*CreateOpaqueOptions)(const char* identifier, void* payload, void (*destroy)(void*), LrtOpaqueOptions*);
  LrtStatus (*AddOpaqueOptions)(LrtOptions, LrtOpaqueOptions);  // takes ownership
  void (*DestroyOpaqueOptions)(LrtOpaqueOptions);
  LrtStatus (*CreateCompiledModel)(LrtEnvironment, LrtModel, LrtOptions, LrtCompiledModel*);
  void (*DestroyCompiledModel)(LrtCompiledModel);
  LrtStatus (*CompiledModelResizeInputTensor)(LrtCompiledModel, size_t signature, size_t input, const int* dims, size_t rank);
  LrtStatus (*GetCompiledModelInputTensorLayout)(LrtCompiledModel, size_t signature, size_t input, LrtLayout*);
  LrtStatus (*GetCompiledModelOutputTensorLayouts)(LrtCompiledModel, size_t signature, size_t count, LrtLayout*, bool allocate);
  LrtStatus (*CompiledModelIsFullyAccelerated)(LrtCompiledModel, bool*);
  LrtStatus (*CompiledModelGetErrorMessages)(LrtCompiledModel, char** messages);  // to be given to free()
  LrtStatus (*CompiledModelClearErrors)(LrtCompiledModel);
  LrtStatus (*RunCompiledModel)(LrtCompiledModel, size_t signature, size_t, LrtTensorBuffer*, size_t, LrtTensorBuffer*);
  LrtStatus (*CreateTensorBufferFromHostMemory)(const LrtRankedType*, void*, size_t, void (*release)(void*), LrtTensorBuffer*);
  void (*DestroyTensorBuffer)(LrtTensorBuffer);
};

// Opens the library for the rest of the process's life. Returns why it cannot be used, or an empty string.
std::string load_litert(const std::string& path, LrtApi& api);

const char* lrt_status_name(LrtStatus status);

}  // namespace verge::litert
