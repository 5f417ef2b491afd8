// dispatch: runs an operator's kernel on the device where its tensors live.
#pragma once

#include "core/device.h"
#include "core/dry_run.h"
#include "core/error.h"
#include "core/profile.h"

namespace replk {

/// Runs `cpu()` or `cuda()`. In a build without CUDA the second is never instantiated, so nothing needs to
/// link. `op` is the name shown in profiles and errors: "relu", "relu.backward". It must outlive the process
/// (a literal). In a DryRun `cuda()` is left out.
template <class Cpu, class Cuda>
void dispatch(const char* op, Device device, const Cpu& cpu, const Cuda& cuda) {
  const ProfileScope scope(op);
  if (device.is_cpu()) {
    cpu();
  } else if (!DryRun::current()) {
    if constexpr (kHasCuda) {
      cuda();
      if (Profile::enabled()) synchronize(device);  // or the launch would be timed, not the work
    } else {
      throw Error(str(op, ": a tensor is on ", device,
                      ", and this build has no CUDA. Configure with -DREPLK_CUDA=ON."));
    }
  }
}

/// For an operator that has a CPU kernel only.
template <class Cpu>
void dispatch(const char* op, Device device, const Cpu& cpu) {
  const ProfileScope scope(op);
  check(device.is_cpu(), op, ": has no kernel for ", device, " yet. Move its inputs to the CPU.");
  cpu();
}

}  // namespace replk
