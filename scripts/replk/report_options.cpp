#include "scripts/replk/report_options.h"

#include "scripts/replk/text.h"
#include "scripts/replk/train_option_table.h"

namespace replk {

std::vector<OptionRow> option_rows(const TrainOptions& options) {
  const TrainOptions defaults;
  std::vector<OptionRow> rows;
  for (const TrainOption& option : train_option_table()) {
    if (option.lasts == TrainOption::Lasts::process) continue;
    const auto value = option.write(options), usual = option.write(defaults);
    rows.push_back({.key = option.key,
                    .flag = option.flag(),
                    .value = flag_text(value),
                    .usual = flag_text(usual),
                    .help = option.help,
                    .on_off = option.kind.empty(),
                    .changed = value != usual});
  }
  return rows;
}

std::string train_command(const TrainOptions& options) {
  std::string command = shell_word(options.program) + " train";
  for (const OptionRow& row : option_rows(options)) {
    if (!row.changed) continue;
    command += " " + row.flag;
    if (!row.on_off) command += " " + shell_word(row.value);
  }
  return command;
}

}  // namespace replk
