// The part of TensorFlow's C interface that the plugin uses, looked up in the library at run time. The header says what the functions are.
#pragma once

#include <tensorflow/c/c_api.h>

#include <string>

namespace verge::tensorflow {

struct TfApi {
#define VERGE_TF_FUNCTIONS(F)                                                                                                             \
  F(TF_Version)                                                                                                                           \
  F(TF_NewStatus) F(TF_DeleteStatus) F(TF_GetCode) F(TF_Message) F(TF_NewGraph) F(TF_DeleteGraph) F(TF_NewSessionOptions)                 \
      F(TF_DeleteSessionOptions) F(TF_SetConfig) F(TF_LoadSessionFromSavedModel) F(TF_NewSession) F(TF_CloseSession) F(TF_DeleteSession)  \
          F(TF_SessionRun) F(TF_GraphOperationByName) F(TF_OperationNumOutputs) F(TF_OperationOutputType) F(TF_NewTensor)                 \
              F(TF_AllocateTensor) F(TF_DeleteTensor) F(TF_TensorType) F(TF_NumDims) F(TF_Dim) F(TF_TensorByteSize) F(TF_TensorData)      \
                  F(TF_StringInit) F(TF_StringCopy) F(TF_StringGetDataPointer) F(TF_StringGetSize) F(TF_StringDealloc) F(TF_NewOperation) \
                      F(TF_SetAttrType) F(TF_AddInput) F(TF_FinishOperation)
#define VERGE_TF_FIELD(name) decltype(&::name) name = nullptr;
  VERGE_TF_FUNCTIONS(VERGE_TF_FIELD)
#undef VERGE_TF_FIELD
};

// Opens both libraries for the rest of the process's life. Returns why they cannot be used, or an empty string.
std::string load_tensorflow(const std::string& framework, const std::string& library, TfApi& api);

}  // namespace verge::tensorflow
