// What `verge worker` and its parent say to each other: JSON objects, one a line.
//
//   parent -> worker (standard input)   one job, then the end of input
//   worker -> parent (descriptor 3)     {"event":"progress","text":"loading"}      a phase begins; named when the worker dies in it
//                                       {"event":"memory"}                         an allocation was refused under the memory limit
//                                       {"event":"partial","result":{…}}           what is known so far, kept when a later phase dies
//                                       {"event":"result","result":{…}}            the end
// The worker runs untrusted artifacts, so whatever it says is checked like any other input.
#pragma once

#include <string>
#include <string_view>

#include "core/json.h"
#include "core/status.h"
#include "engine/worker.h"

namespace verge::engine {

// Either a whole job, or only "load with this cache and say how long it took" (the second process of a cached load).
enum class WorkerTask { kMeasure, kCachedLoad };

std::string print_job(const WorkerJob& job, WorkerTask task);  // one line
Result<WorkerJob> parse_job(std::string_view line, WorkerTask& task);

Json result_json(const WorkerResult& r);
// `job` bounds what is accepted: the evaluation outputs must be those of the job's folder.
Result<WorkerResult> parse_result(const Json& j, const WorkerJob& job);

// The file of output `index` of the evaluation, and of the calibration samples.
std::string evaluation_file(const WorkerJob& job, size_t index);
std::string calibration_file(const WorkerJob& job, size_t index);

}  // namespace verge::engine
