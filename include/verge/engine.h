/* Verge engine plugin interface, version 1.
 *
 * An engine plugin is a shared object that loads and runs model artifacts for one inference runtime. It exports one symbol,
 * `verge_engine_get`, and depends on this header alone. Beside the shared object stands a descriptor `NAME.engine.json` (name,
 * formats, libraries needed, ABI version), so that tools can list and diagnose engines without loading them.
 *
 * Rules that hold for every function here
 *   - Every struct begins with `size`, set by whoever fills it in. A reader uses only the bytes that `size` covers, so fields may be
 *     appended in later minor versions. Reserved fields are zero.
 *   - No C++ exception crosses this border. A function that can fail returns a verge_code and, when `status` is not NULL, fills it.
 *   - Strings are UTF-8 and NUL-terminated. Pointers handed out by the plugin stay valid until the object they describe is destroyed.
 *   - Threads: calls on one `verge_engine` or `verge_model` may come from any thread, one at a time unless VERGE_CAP_REENTRANT is set.
 *     A `verge_instance` belongs to one lane and is never entered twice; different instances of a model may run at the same time.
 *   - Destruction order is instances, model, engine. The host calls nothing after destroy.
 *   - The file an artifact names is untrusted. A plugin bounds what it reads and returns an error; the host additionally loads every
 *     unknown file first in a worker process.
 */
#ifndef VERGE_ENGINE_H_
#define VERGE_ENGINE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VERGE_ENGINE_ABI_MAJOR 1u
#define VERGE_ENGINE_ABI_MINOR 0u
#define VERGE_MAX_RANK 8

#if defined(__GNUC__)
#define VERGE_EXPORT __attribute__((visibility("default")))
#else
#define VERGE_EXPORT
#endif

/* Codes are those of gRPC, so that they need no translation on the way to a client. */
typedef enum verge_code {
  VERGE_OK = 0,
  VERGE_CANCELLED = 1,
  VERGE_UNKNOWN = 2,
  VERGE_INVALID_ARGUMENT = 3,
  VERGE_DEADLINE_EXCEEDED = 4,
  VERGE_NOT_FOUND = 5,
  VERGE_ALREADY_EXISTS = 6,
  VERGE_PERMISSION_DENIED = 7,
  VERGE_RESOURCE_EXHAUSTED = 8,
  VERGE_FAILED_PRECONDITION = 9,
  VERGE_ABORTED = 10,
  VERGE_OUT_OF_RANGE = 11,
  VERGE_UNIMPLEMENTED = 12,
  VERGE_INTERNAL = 13,
  VERGE_UNAVAILABLE = 14,
  VERGE_DATA_LOSS = 15,
  VERGE_UNAUTHENTICATED = 16
} verge_code;

/* Owned by the caller, which sets `message` and `capacity` (bytes, the NUL included). The callee writes at most `capacity` bytes. */
typedef struct verge_status {
  uint32_t size;
  int32_t code;
  char* message;
  uint64_t capacity;
} verge_status;

typedef enum verge_dtype {
  VERGE_DTYPE_INVALID = 0,
  VERGE_BOOL = 1, /* one byte, 0 or 1 */
  VERGE_UINT8 = 2,
  VERGE_UINT16 = 3,
  VERGE_UINT32 = 4,
  VERGE_UINT64 = 5,
  VERGE_INT8 = 6,
  VERGE_INT16 = 7,
  VERGE_INT32 = 8,
  VERGE_INT64 = 9,
  VERGE_FP16 = 10, /* IEEE 754 binary16 */
  VERGE_FP32 = 11,
  VERGE_FP64 = 12,
  VERGE_BF16 = 13,
  VERGE_BYTES = 14 /* strings: see verge_tensor.offsets */
} verge_dtype;

/* Where memory lies. `device` is an index within the kind; 0 for host and pinned memory. */
typedef enum verge_space_kind { VERGE_SPACE_HOST = 0, VERGE_SPACE_PINNED = 1, VERGE_SPACE_DEVICE = 2 } verge_space_kind;
typedef struct verge_space {
  int32_t kind;
  int32_t device;
} verge_space;

/* A dense row-major tensor unless `has_strides`. `byte_size` is the size of the data, or, for an output buffer the host lends, its
 * capacity. BYTES tensors: `data` is one blob, element i is data[offsets[i] .. offsets[i+1]), with element count + 1 offsets.
 * `release`, when set, gives `owner` back; whoever holds the tensor last calls it once. `ready_event`, when set, is an
 * engine-specific event to wait for before reading `data`. */
typedef struct verge_tensor {
  uint32_t size;
  int32_t dtype;
  int32_t rank;
  int32_t has_strides;
  int64_t dims[VERGE_MAX_RANK];
  int64_t strides[VERGE_MAX_RANK]; /* bytes */
  void* data;
  uint64_t byte_size;
  const uint64_t* offsets;
  verge_space space;
  void* owner;
  void (*release)(void* owner);
  void* ready_event;
  uint64_t reserved[2];
} verge_tensor;

/* Key-value options. Unknown keys must be refused with VERGE_INVALID_ARGUMENT naming the key. */
typedef struct verge_option {
  const char* key;
  const char* value;
} verge_option;
typedef struct verge_options {
  uint32_t size;
  uint32_t count;
  const verge_option* items;
} verge_options;

typedef enum verge_log_level {
  VERGE_LOG_DEBUG = 0,
  VERGE_LOG_INFO = 1,
  VERGE_LOG_WARNING = 2,
  VERGE_LOG_ERROR = 3
} verge_log_level;

/* What the host offers. All functions are thread-safe and outlive every engine. */
typedef struct verge_host_api {
  uint32_t size;
  uint32_t abi_minor;
  void* context; /* passed back as the first argument */
  void (*log)(void* context, int32_t level, const char* message);
  /* Returns NULL when memory is short. `alignment` is a power of two. */
  void* (*allocate)(void* context, verge_space space, uint64_t bytes, uint64_t alignment);
  void (*deallocate)(void* context, verge_space space, void* pointer);
  /* Tells the host that the plugin holds `delta` bytes more (or less) on behalf of `what`, for memory it does not allocate above. */
  void (*account)(void* context, const char* what, int64_t delta);
  /* Ends an asynchronous submit. */
  void (*complete)(void* context, uint64_t token, const verge_status* status);
  uint64_t (*now_ns)(void* context); /* monotonic */
  uint64_t reserved[4];
} verge_host_api;

/* Capability bits of an engine. */
#define VERGE_CAP_DYNAMIC_BATCH (1ull << 0)    /* one loaded artifact runs any batch size along the batch axis */
#define VERGE_CAP_EXTERNAL_OUTPUTS (1ull << 1) /* writes into output buffers that the host lends */
#define VERGE_CAP_REENTRANT (1ull << 2)        /* engine and model calls may overlap */
#define VERGE_CAP_ASYNC (1ull << 3)            /* submit works */
#define VERGE_CAP_CANCEL (1ull << 4)           /* cancel works */
#define VERGE_CAP_SHARES_WEIGHTS (1ull << 5)   /* instances of a model share its weights */
#define VERGE_CAP_STATEFUL (1ull << 6)         /* instances may keep state between runs; reset_state clears it */
#define VERGE_CAP_EXPORT (1ull << 7)           /* model_export works */

/* One file or folder of an artifact. `batch` is the fixed batch size of the file, 0 when it is free or not known: then
 * a fixed first dimension is taken for the batch only where it is 1. */
typedef struct verge_artifact_file {
  const char* path;
  int64_t batch;
} verge_artifact_file;
typedef struct verge_artifact {
  uint32_t size;
  uint32_t count;
  const verge_artifact_file* files;
  const char* format;    /* "openvino-ir", "onnx", "tflite", "saved_model", "identity", … */
  const char* signature; /* NULL: the default one */
  const char* cache_dir; /* where the engine may keep compiled blobs; NULL: nowhere */
} verge_artifact;

/* The cores (Linux CPU numbers) that this model or instance may use. count 0: the caller's affinity as it is. */
typedef struct verge_placement {
  uint32_t size;
  uint32_t count;
  const int32_t* cores;
  int32_t threads; /* 0: one for each core. 1: compute in the caller's thread where the engine can */
} verge_placement;

typedef struct verge_quantization {
  int32_t present;
  int32_t axis; /* -1: one scale for the whole tensor */
  double scale;
  int64_t zero_point;
} verge_quantization;

typedef struct verge_tensor_info {
  uint32_t size;
  int32_t dtype;
  const char* name;
  int32_t rank;       /* -1: unknown rank */
  int32_t batch_axis; /* -1: none */
  int64_t dims[VERGE_MAX_RANK]; /* -1: free */
  verge_quantization quantization;
} verge_tensor_info;

/* What the engine knows of a loaded model. */
typedef struct verge_model_info {
  uint32_t size;
  uint32_t input_count;
  uint32_t output_count;
  uint32_t fixed_batch_count; /* 0: any batch size runs */
  const verge_tensor_info* inputs;
  const verge_tensor_info* outputs;
  const int64_t* fixed_batches; /* ascending */
  /* "f32", "bf16", "f16", "int8" or "mixed": what is *executed*, which need not be what the file stores. */
  const char* executed_precision;
  const char* executed_precision_source; /* one sentence: how that is known */
  uint64_t weight_bytes;                 /* 0: unknown */
  uint64_t activation_bytes;             /* 0: unknown */
  int32_t memory_is_measured;            /* 1: measured, 0: estimated */
} verge_model_info;

typedef struct verge_buffer_preference {
  uint32_t size;
  verge_space space;
  uint64_t alignment; /* bytes, a power of two */
  uint64_t bytes;     /* for the batch size asked about; 0: unknown until run */
} verge_buffer_preference;

typedef struct verge_engine verge_engine;
typedef struct verge_model verge_model;
typedef struct verge_instance verge_instance;

typedef struct verge_engine_vtable {
  uint32_t size;
  uint32_t abi_major;
  uint32_t abi_minor;
  uint32_t reserved0;
  const char* name;
  uint64_t capabilities;

  /* `config` holds "library.NAME" = absolute path for every library of the descriptor that the host found, and the engine's own
   * settings from the server's configuration. Called once a process. */
  verge_code (*create)(const verge_host_api* host, const verge_options* config, verge_engine** out, verge_status* status);
  void (*destroy)(verge_engine* engine);
  const char* (*version)(verge_engine* engine); /* of the runtime underneath, not of the plugin */
  uint64_t (*fixed_cost_bytes)(verge_engine* engine); /* resident memory that unloading all models does not return; 0: unknown */
  /* Calls `sink` with each fact that matters to this engine's compiled blobs and precisions ("cpu.bf16" = "yes", …). */
  verge_code (*query_device)(verge_engine* engine, void (*sink)(void* arg, const char* key, const char* value), void* arg,
                             verge_status* status);

  /* `share` is a loaded model of the same artifact whose weights may be shared, or NULL. */
  verge_code (*model_load)(verge_engine* engine, const verge_artifact* artifact, const verge_options* options,
                           const verge_placement* placement, verge_model* share, verge_model** out, verge_status* status);
  const verge_model_info* (*model_info)(verge_model* model);
  /* Writes a compiled form to `path`; `key` (at least 128 bytes) receives what must be equal for an import to be valid. NULL without
   * VERGE_CAP_EXPORT. Importing is model_load with format "ENGINE-blob" and the option "blob.key". */
  verge_code (*model_export)(verge_model* model, const char* path, char* key, uint64_t key_capacity, verge_status* status);
  void (*model_unload)(verge_model* model);

  verge_code (*instance_create)(verge_model* model, const verge_placement* placement, verge_instance** out, verge_status* status);
  /* `is_output` 0 or 1, `index` into the model's inputs or outputs. */
  verge_code (*instance_preferred_buffer)(verge_instance* instance, int32_t is_output, uint32_t index, int64_t batch,
                                          verge_buffer_preference* out, verge_status* status);
  /* Runs once, in the caller's thread as far as the engine can. Inputs and outputs are in the order of model_info; every input
   * carries its full shape, batch included. For outputs, each element on entry either has `data` (a buffer the host lends, of capacity
   * `byte_size`, used if VERGE_CAP_EXTERNAL_OUTPUTS is set and it is large enough) or data == NULL. On success the engine has set dtype,
   * rank, dims, byte_size and data; where it did not use the host's buffer it has set owner and release, or the data stays valid until the
   * instance's next run (owner NULL). Repeating the same buffers must not cost a re-binding. */
  verge_code (*instance_run)(verge_instance* instance, const verge_tensor* inputs, uint32_t input_count, verge_tensor* outputs,
                             uint32_t output_count, verge_status* status);
  /* As run, but returns at once; the end is told by host->complete(token). Tensors stay valid until then. NULL without VERGE_CAP_ASYNC. */
  verge_code (*instance_submit)(verge_instance* instance, const verge_tensor* inputs, uint32_t input_count, verge_tensor* outputs,
                                uint32_t output_count, uint64_t token, verge_status* status);
  /* Best effort, from any thread, while a run or submit is under way. The run then ends with VERGE_OK or VERGE_CANCELLED, and the
   * instance is usable again. NULL without VERGE_CAP_CANCEL. */
  void (*instance_cancel)(verge_instance* instance);
  verge_code (*instance_reset_state)(verge_instance* instance, verge_status* status); /* NULL without VERGE_CAP_STATEFUL */
  void (*instance_destroy)(verge_instance* instance);
  void* reserved[8];
} verge_engine_vtable;

/* The one exported symbol. Returns NULL if `abi_major` is not supported; the vtable is static. */
typedef const verge_engine_vtable* (*verge_engine_get_fn)(const verge_host_api* host, uint32_t abi_major);
VERGE_EXPORT const verge_engine_vtable* verge_engine_get(const verge_host_api* host, uint32_t abi_major);

#ifdef __cplusplus
}
#endif
#endif /* VERGE_ENGINE_H_ */
