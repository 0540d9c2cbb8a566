#pragma once

#include <vector>

#include "engine/check_fixture.h"

namespace verge::engine::check {

// Appends the clauses about runs, threads and resources.
void add_run_clauses(std::vector<Clause>& clauses);

}  // namespace verge::engine::check
