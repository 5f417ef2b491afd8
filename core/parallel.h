// parallel_for: the one way in which CPU kernels use more than one core.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "core/dry_run.h"

namespace replk {

/// Threads that parallel_for uses; at the start as many as the process may run on.
int num_threads();
/// Sets that number. Throws Error below 1.
void set_num_threads(int threads);

namespace detail {
/// Calls body(context, thread) once for every thread in [0, threads), on this thread and those of the pool,
/// and returns when all are done. The first exception is thrown again here.
void run_team(int threads, void (*body)(const void* context, int thread), const void* context);
/// True on a thread that is running a body: nested calls must not ask for more threads.
bool inside_team();
}  // namespace detail

/// Calls f(begin, end) on contiguous pieces that together are [0, n), one piece a thread, none smaller than
/// `grain` unless n is. A kernel whose every output is computed by one piece alone gives the same bits for
/// any number of threads. Nested calls run on the calling thread. The first exception thrown by f is thrown
/// again here. In a DryRun f gets an empty piece: what it allocates before its loop is counted for each
/// thread.
template <class F>
void parallel_for(std::int64_t n, std::int64_t grain, const F& f) {
  if (n <= 0) return;
  const auto threads =
      static_cast<int>(std::clamp<std::int64_t>(n / std::max<std::int64_t>(grain, 1), 1, num_threads()));
  if (DryRun* dry = DryRun::current()) [[unlikely]]
    return dry->on_threads(threads, [&] { f(std::int64_t{0}, std::int64_t{0}); });
  if (threads == 1 || detail::inside_team()) {
    f(std::int64_t{0}, n);
    return;
  }
  struct Context {
    const F& f;
    std::int64_t n, threads;
  } const context{f, n, threads};
  detail::run_team(
      threads,
      [](const void* p, int thread) {
        const auto& c = *static_cast<const Context*>(p);
        c.f(c.n * thread / c.threads, c.n * (thread + 1) / c.threads);
      },
      &context);
}

/// Calls f(i) for every i of [0, n), handing out one index at a time: for items of unequal cost.
/// In a DryRun f gets 0 alone, and what does its arithmetic must leave it out.
template <class F>
void parallel_for_each(std::int64_t n, const F& f) {
  if (n <= 0) return;
  const auto threads = static_cast<int>(std::min<std::int64_t>(n, num_threads()));
  if (DryRun* dry = DryRun::current()) [[unlikely]]
    return dry->on_threads(threads, [&] { f(std::int64_t{0}); });
  if (threads == 1 || detail::inside_team()) {
    for (std::int64_t i = 0; i < n; ++i) f(i);
    return;
  }
  struct Context {
    const F& f;
    std::int64_t n;
    mutable std::atomic<std::int64_t> next{0};
  };
  const Context context{f, n};
  detail::run_team(
      threads,
      [](const void* p, int) {
        const auto& c = *static_cast<const Context*>(p);
        for (std::int64_t i = c.next++; i < c.n; i = c.next++) c.f(i);
      },
      &context);
}

}  // namespace replk
