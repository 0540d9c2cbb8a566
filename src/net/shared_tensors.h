// Inputs from shared memory, and outputs into it.
#pragma once

#include "core/status.h"
#include "net/infer_options.h"
#include "net/model_infer_wire.h"

namespace verge::net {

// What a server answers that has not enabled it.
Status shared_memory_disabled();

// Copies an input's bytes from its place into `scratch`: from then on the client cannot change them.
Status read_shared_input(const InferOptions& options, const SharedPlace& place, Scratch& scratch, runtime::InputTensor* input,
                         CopyCount* copies);
// Finds the region of an output's place, and holds it.
Status find_shared_output(const InferOptions& options, WantedOutput* wanted);
// Writes an output's bytes to its place; the answer then carries none.
Status write_shared_output(WantedOutput* wanted, runtime::OutputTensor* output);

}  // namespace verge::net
