// The commands of `replk`. Each function adds one to the command line; see command_line.h for what its
// callback may do.
#pragma once

#include <CLI/CLI.hpp>

namespace replk {

CLI::App* add_summary_command(CLI::App& app);
CLI::App* add_eval_command(CLI::App& app);
CLI::App* add_predict_command(CLI::App& app);
CLI::App* add_reparam_command(CLI::App& app);
CLI::App* add_data_command(CLI::App& app);
CLI::App* add_convert_command(CLI::App& app);
CLI::App* add_inspect_command(CLI::App& app);
CLI::App* add_report_command(CLI::App& app);

}  // namespace replk
