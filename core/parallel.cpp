#include "core/parallel.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/error.h"

namespace replk {
namespace {

thread_local bool in_team = false;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// The processors that the thread which made this may run on.
class Processors {
 public:
#if defined(__linux__)
  Processors() {
    CPU_ZERO(&allowed_);
    sched_getaffinity(0, sizeof(allowed_), &allowed_);
  }
  /// The one that this thread runs on; -1 where nobody tells.
  static int current() { return sched_getcpu(); }
  /// Moves this thread off `cpu`, where the thread that gave it work runs. Linux likes to wake a thread where
  /// its waker runs, and leaves two short-lived jobs on one processor for many milliseconds while others are
  /// idle.
  void leave(int cpu) const {
    if (cpu < 0 || sched_getcpu() != cpu) return;
    cpu_set_t others = allowed_;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) > 0) sched_setaffinity(0, sizeof(others), &others);
  }

 private:
  cpu_set_t allowed_;
#else
  static int current() { return -1; }
  void leave(int) const {}
#endif
};

// Threads that wait for a job, take part in it, and wait again. A step runs hundreds of short loops one after
// the other, and waking a thread that sleeps takes 20 to 60 microseconds: so they look for the next job for a
// while before they sleep. Not for long: on a machine that is busy with other things, a thread that spins
// takes the core from the very one it waits for (OpenMP's threads do, by default).
class ThreadPool {
 public:
  ~ThreadPool() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
      ++generation_;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void run(int threads, void (*body)(const void*, int), const void* context) {
    const std::unique_lock one_at_a_time(callers_, std::try_to_lock);
    if (!one_at_a_time) {  // another thread is using the pool: do all of it here
      const TeamScope scope;
      for (int thread = 0; thread < threads; ++thread) body(context, thread);
      return;
    }
    while (static_cast<int>(workers_.size()) < threads - 1)
      workers_.emplace_back([this, thread = static_cast<int>(workers_.size()) + 1,
                             seen = generation_.load()] { work(thread, seen); });
    {
      const std::lock_guard lock(mutex_);
      body_ = body;
      context_ = context;
      caller_cpu_ = Processors::current();
      team_ = threads;
      error_ = nullptr;
      pending_ = threads - 1;
      ++generation_;
    }
    wake_.notify_all();
    take_part(0);
    wait_for_others();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  struct TeamScope {
    TeamScope() { in_team = true; }
    ~TeamScope() { in_team = false; }
  };
  // Two trainings of replknet-tiny at once on two processors that were busy with compilers too: 160 ms a
  // step, 183 with 30 microseconds and 183 with 800; one alone, 94, 119 and 95.
  static constexpr std::chrono::microseconds kSpin{200};

  // Looks for `done` to become true for that time.
  template <class F>
  static void spin(const F& done) {
    using Clock = std::chrono::steady_clock;
    constexpr int kLooksPerTime = 16;  // reading the clock takes as long as one look or two
    for (const auto end = Clock::now() + kSpin; Clock::now() < end;)
      for (int look = 0; look < kLooksPerTime; ++look) {
        if (done()) return;
        pause_briefly();
      }
  }

  void take_part(int thread) {
    const TeamScope scope;
    try {
      body_(context_, thread);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  void work(int thread, std::uint64_t seen) {
    while (true) {
      spin([&] { return generation_.load(std::memory_order_acquire) != seen; });
      int team, caller_cpu;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return generation_ != seen; });
        seen = generation_;
        if (stop_) return;
        team = team_;
        caller_cpu = caller_cpu_;
      }
      if (thread >= team) continue;
      processors_.leave(caller_cpu);
      take_part(thread);
      if (--pending_ == 0) {
        const std::lock_guard lock(mutex_);
        done_.notify_one();
      }
    }
  }

  void wait_for_others() {
    spin([&] { return pending_.load(std::memory_order_acquire) == 0; });
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return pending_ == 0; });
  }

  const Processors processors_;
  std::mutex callers_, mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
  std::atomic<std::uint64_t> generation_{0};  // counts jobs; changes under mutex_
  std::atomic<int> pending_{0};               // workers still busy with this job
  void (*body_)(const void*, int) = nullptr;
  const void* context_ = nullptr;
  int team_ = 0, caller_cpu_ = -1;
  std::exception_ptr error_;
  bool stop_ = false;
};

std::atomic<int>& thread_setting() {
  static std::atomic<int> threads{std::max(1, static_cast<int>(std::thread::hardware_concurrency()))};
  return threads;
}

}  // namespace

int num_threads() { return thread_setting(); }

void set_num_threads(int threads) {
  check(threads >= 1, "set_num_threads: at least 1, got ", threads, ".");
  thread_setting() = threads;
}

namespace detail {

void run_team(int threads, void (*body)(const void* context, int thread), const void* context) {
  static ThreadPool pool;
  pool.run(threads, body, context);
}

bool inside_team() { return in_team; }

}  // namespace detail

}  // namespace replk
