// Finds out what a report shows: reads a run folder, evaluates its network, merges it.
#pragma once

#include <string>

#include "scripts/replk/common_flags.h"
#include "scripts/replk/compute.h"
#include "scripts/replk/progress.h"
#include "scripts/replk/report.h"

namespace replk {

struct ReportFlags {
  std::string run, out;  // out: empty: report.html in the run folder
  DataFlags data{.name = {}, .root = {}, .split = "validation"};
  ComputeFlags compute;
  std::int64_t batch_size = 256;
  int workers = 1;
  std::int64_t mistakes = 24;  // pictures of wrong answers
  std::int64_t images = 256;   // to compare merged networks on
};

/// What a run has not (metrics, a checkpoint, data on this machine) is said in the report. Throws what is
/// wrong with what it has, and with data that the flags name.
Report gather_report(const ReportFlags& flags, const std::string& program, Progress& progress);

}  // namespace replk
