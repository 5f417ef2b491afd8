// parallel_for: the one way in which CPU kernels use more than one core.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>

namespace replk {

/// Threads that parallel_for uses; at the start as many as the process may run on (or OMP_NUM_THREADS).
int num_threads();
/// Sets that number. Throws Error below 1.
void set_num_threads(int threads);

namespace detail {
/// Index of this thread in the team and the team's size, from OpenMP.
struct TeamPosition {
  int thread;
  int threads;
};
TeamPosition team_position();
bool inside_team();
}  // namespace detail

/// Calls f(begin, end) on contiguous pieces that together are [0, n), one piece a thread, none smaller than
/// `grain` unless n is. A kernel whose every output is computed by one piece alone gives the same bits for
/// any number of threads. Nested calls run on the calling thread. The first exception thrown by f is thrown
/// again here.
template <class F>
void parallel_for(std::int64_t n, std::int64_t grain, const F& f) {
  if (n <= 0) return;
  const auto threads =
      static_cast<int>(std::clamp<std::int64_t>(n / std::max<std::int64_t>(grain, 1), 1, num_threads()));
  if (threads == 1 || detail::inside_team()) {
    f(std::int64_t{0}, n);
    return;
  }
  std::exception_ptr error;
#pragma omp parallel num_threads(threads)
  {
    const auto [thread, team] = detail::team_position();
    try {
      f(n * thread / team, n * (thread + 1) / team);
    } catch (...) {
#pragma omp critical(replk_parallel_for)
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

/// Calls f(i) for every i of [0, n), handing out one index at a time: for items of unequal cost.
template <class F>
void parallel_for_each(std::int64_t n, const F& f) {
  if (n <= 0) return;
  const auto threads = static_cast<int>(std::min<std::int64_t>(n, num_threads()));
  if (threads == 1 || detail::inside_team()) {
    for (std::int64_t i = 0; i < n; ++i) f(i);
    return;
  }
  std::exception_ptr error;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (std::int64_t i = 0; i < n; ++i) {
    try {
      f(i);
    } catch (...) {
#pragma omp critical(replk_parallel_for)
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace replk
