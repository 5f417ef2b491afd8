#include <fmt/format.h>

#include "core/allocator.h"
#include "core/error.h"
#include "io/atomic_file.h"
#include "scripts/replk/commands.h"
#include "scripts/replk/kernel_report.h"
#include "scripts/replk/report_gather.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

std::string page_of(const ReportFlags& flags, const std::string& program, Progress& progress) {
  try {
    return report_html(gather_report(flags, program, progress));
  } catch (const OutOfMemory& error) {
    progress.clear();
    throw OutOfMemory(str(error.what(), " A report evaluates --batch-size ", flags.batch_size,
                          " images at a time and holds --images ", flags.images,
                          " to compare merged networks: lower them."),
                      error.capacity());
  }
}

void run_report(const ReportFlags& flags, const std::string& program) {
  const std::filesystem::path path =
      flags.out.empty() ? std::filesystem::path(flags.run) / kReportFile : std::filesystem::path(flags.out);
  // Told before minutes of work.
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    throw UsageError(str("--out: ", path.string(), " is a folder, a file expected."));
  if (path.has_parent_path() && !flags.out.empty() &&
      !std::filesystem::is_directory(path.parent_path(), error))
    throw UsageError(str("--out: ", path.parent_path().string(), " is no folder: make it first."));
  std::string page;
  {
    Progress progress;
    page = page_of(flags, program, progress);
  }
  write_file_atomically(path, std::string_view(page));
  fmt::print("saved: {} ({})\n", path.string(), format_bytes(page.size()));
}

}  // namespace

CLI::App* add_report_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("report", "All of a training run on one page: an HTML file that needs nothing else");
  const auto flags = std::make_shared<ReportFlags>();
  command->add_option("run", flags->run, "The folder of a run")->required();
  command->add_option("-o,--out", flags->out, "The file to write (default: report.html in the run's folder)");
  add_data_flags(*command, flags->data);
  command->add_option("--mistakes", flags->mistakes, "Show so many of the worst mistakes")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command->add_option("--images", flags->images, "Compare merged networks on so many images")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_option("--batch-size", flags->batch_size, "Images at a time")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--workers", flags->workers, "Threads that prepare images")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  add_compute_flags(*command, flags->compute);
  add_depthwise_kernel_flag(*command);
  add_threads_flag(*command);
  command->callback([flags, &app] { run_report(*flags, app.get_name()); });
  return command;
}

}  // namespace replk
