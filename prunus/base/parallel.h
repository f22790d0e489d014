#pragma once
#include <cstdint>
#include <functional>

namespace prunus {

/// Runs body(i) once for every i in [0, count), each on one of libtorch's threads; operators inside
/// it use that thread only. For many small independent pieces: threads that share a small operator
/// mostly wait for each other. The order is undefined, and results must not depend on it.
/// Too few pieces to keep the threads busy run one after the other, each on all threads.
/// Errors: the first exception of a body; pieces not begun by then are not run.
void for_each_parallel(int64_t count, const std::function<void(int64_t)>& body);

}  // namespace prunus
