#include "tests/emulated_cuda/device.h"

#include <algorithm>
#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

#include "tests/emulated_cuda/memory.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace replk::emulated {

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace {

constexpr unsigned kMostThreads = 1024, kWarp = 32;
constexpr std::size_t kStackBytes = 128 << 10;

enum class State { ready, waits_for_warp, waits_for_block, done };

// Runs one thread after another, on a stack of its own.
struct Fibre {
  boost::context::fiber thread, scheduler;  // the one of the two that does not run
  const char* stack = nullptr;
  State state = State::done;
};

struct Warp {
  unsigned alive, waiting;
  std::array<Words, kWarp> given, shown;
};

struct Machine {
  std::vector<Fibre> fibres = std::vector<Fibre>(kMostThreads);
  std::array<Warp, kMostThreads / kWarp> warps;
  const std::function<void()>* body = nullptr;
  unsigned current = 0, alive = 0, waiting = 0;
  char* shared = nullptr;
  std::size_t shared_bytes = 0;
  bool backwards = false;  // every second launch: whoever forgets a barrier does not get away with it twice
  void* fake_stack = nullptr;
};

Machine& machine() {
  static Machine& only = *new Machine;
  return only;
}

// Address sanitizer wants to be told of every change of stacks.
void start_switch(void** save, const void* stack, std::size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(save, stack, bytes);
#else
  static_cast<void>(save), static_cast<void>(stack), static_cast<void>(bytes);
#endif
}
const void* scheduler_stack = nullptr;
std::size_t scheduler_bytes = 0;
void finish_switch(void* fake_stack, bool in_fibre) {
#ifdef __SANITIZE_ADDRESS__
  if (in_fibre)
    __sanitizer_finish_switch_fiber(fake_stack, &scheduler_stack, &scheduler_bytes);
  else
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#else
  static_cast<void>(fake_stack), static_cast<void>(in_fibre);
#endif
}

void to_scheduler() {
  Machine& m = machine();
  Fibre& self = m.fibres[m.current];
  void* fake_stack = nullptr;
  start_switch(&fake_stack, scheduler_stack, scheduler_bytes);
  self.scheduler = std::move(self.scheduler).resume();
  finish_switch(fake_stack, true);
}

void release_block() {
  Machine& m = machine();
  m.waiting = 0;
  for (unsigned t = 0; t < blockDim.x; ++t)
    if (m.fibres[t].state == State::waits_for_block) m.fibres[t].state = State::ready;
}

void release_warp(unsigned w) {
  Machine& m = machine();
  m.warps[w].waiting = 0;
  m.warps[w].shown = m.warps[w].given;
  for (unsigned t = w * kWarp; t < std::min((w + 1) * kWarp, blockDim.x); ++t)
    if (m.fibres[t].state == State::waits_for_warp) m.fibres[t].state = State::ready;
}

void end_thread() {
  Machine& m = machine();
  m.fibres[m.current].state = State::done;
  Warp& warp = m.warps[m.current / kWarp];
  --m.alive, --warp.alive;
  if (m.alive > 0 && m.waiting == m.alive) release_block();
  if (warp.alive > 0 && warp.waiting == warp.alive) release_warp(m.current / kWarp);
}

void enter(unsigned thread) {
  Machine& m = machine();
  Fibre& fibre = m.fibres[thread];
  m.current = thread;
  threadIdx = {thread, 0, 0};
  start_switch(&m.fake_stack, fibre.stack, kStackBytes);
  fibre.thread = std::move(fibre.thread).resume();
  finish_switch(m.fake_stack, false);
}

void prepare(Fibre& fibre) {
  boost::context::fixedsize_stack allocator(kStackBytes);
  const auto stack = allocator.allocate();
  fibre.stack = static_cast<const char*>(stack.sp) - stack.size;
  fibre.thread =
      boost::context::fiber(std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack),
                            allocator, [&fibre](boost::context::fiber&& scheduler) {
                              finish_switch(nullptr, true);
                              fibre.scheduler = std::move(scheduler);
                              for (;;) {
                                (*machine().body)();
                                end_thread();
                                to_scheduler();
                              }
                              return boost::context::fiber();
                            });
}

[[noreturn]] void give_up(const char* message) {
  std::fprintf(stderr, "emulated GPU: block %u: %s\n", blockIdx.x, message);
  std::abort();
}

void run_block(unsigned threads) {
  Machine& m = machine();
  m.alive = threads, m.waiting = 0;
  for (unsigned w = 0; w * kWarp < threads; ++w)
    m.warps[w].alive = std::min(kWarp, threads - w * kWarp), m.warps[w].waiting = 0;
  for (unsigned t = 0; t < threads; ++t) m.fibres[t].state = State::ready;
  while (m.alive > 0) {
    bool moved = false;
    for (unsigned i = 0; i < threads; ++i) {
      const unsigned t = m.backwards ? threads - 1 - i : i;
      if (m.fibres[t].state != State::ready) continue;
      enter(t);
      moved = true;
    }
    if (!moved) give_up("some threads wait for others that have returned or wait elsewhere.");
  }
}

}  // namespace

void launch(unsigned blocks, unsigned threads, std::size_t shared_bytes, const std::function<void()>& body) {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  const DeviceAccess access;
  Machine& m = machine();
  if (threads == 0 || threads > kMostThreads) give_up("1 to 1,024 threads expected.");
  for (unsigned t = 0; t < threads; ++t)
    if (!m.fibres[t].stack) prepare(m.fibres[t]);
  m.body = &body;
  m.backwards = !m.backwards;
  gridDim = dim3(blocks), blockDim = dim3(threads);
  if (m.shared_bytes != shared_bytes || !m.shared) {  // to the byte, so that address sanitizer sees its end
    std::free(m.shared);
    m.shared = static_cast<char*>(std::aligned_alloc(16, (shared_bytes + 16) / 16 * 16));
    m.shared_bytes = shared_bytes;
  }
  for (unsigned b = 0; b < blocks; ++b) {
    std::memset(m.shared, 0xff, shared_bytes);  // NaN in every type: nothing may count on what was there
    blockIdx = {b, 0, 0};
    run_block(threads);
  }
}

void sync_block() {
  Machine& m = machine();
  m.fibres[m.current].state = State::waits_for_block;
  if (++m.waiting == m.alive) release_block();
  if (m.fibres[m.current].state != State::ready) to_scheduler();
}

const std::array<Words, 32>& exchange(const Words& words) {
  Machine& m = machine();
  const unsigned w = m.current / kWarp;
  Warp& warp = m.warps[w];
  warp.given[m.current % kWarp] = words;
  m.fibres[m.current].state = State::waits_for_warp;
  if (++warp.waiting == warp.alive) release_warp(w);
  if (m.fibres[m.current].state != State::ready) to_scheduler();
  return warp.shown;
}

void sync_warp() { exchange({}); }

char* dynamic_shared() { return machine().shared; }

}  // namespace replk::emulated
