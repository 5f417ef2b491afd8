#include "core/parallel.h"

#include <omp.h>

#include <atomic>

#include "core/error.h"

namespace replk {
namespace {
std::atomic<int>& thread_setting() {
  static std::atomic<int> threads{omp_get_max_threads()};
  return threads;
}
}  // namespace

int num_threads() { return thread_setting(); }

void set_num_threads(int threads) {
  check(threads >= 1, "set_num_threads: at least 1, got ", threads, ".");
  thread_setting() = threads;
}

namespace detail {
TeamPosition team_position() { return {omp_get_thread_num(), omp_get_num_threads()}; }
bool inside_team() { return omp_in_parallel() != 0; }
}  // namespace detail

}  // namespace replk
