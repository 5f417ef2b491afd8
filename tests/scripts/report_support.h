// What the tests of reports share: runs to report on, and a reader of the page.
#pragma once

#include <nlohmann/json.hpp>

#include "data/codec.h"
#include "tests/scripts/process.h"
#include "tests/scripts/train_support.h"
#include "tests/scripts/xml_check.h"
#include "tests/support/catch.h"

namespace replk::test {

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A run of three epochs with averaged weights on the data set of write_idx_dataset, made once. Tests that
/// change it copy it.
class ReportedRun {
 public:
  ReportedRun() {
    write_idx_dataset(folder_ / "data");
    train = run_replk({"train", "--data", folder_ / "data", "--model", "replknet-nano", "--model-config",
                       kSmallNetwork, "--batch-size", "16", "--val-split", "40", "--epochs", "3", "--ema",
                       "0.9", "--threads", "1", "--out", run()});
  }
  std::string run() const { return folder_ / "run"; }
  std::string data() const { return folder_ / "data"; }
  Outcome train;

  /// The same run in a folder of its own.
  std::string copy(const TemporaryFolder& folder) const {
    const auto to = folder / "run";
    std::filesystem::copy(run(), to, std::filesystem::copy_options::recursive);
    return to;
  }

 private:
  TemporaryFolder folder_;
};

inline const ReportedRun& reported_run() {
  static const ReportedRun run;
  return run;
}

/// A page, which must be well-formed XML after its document type.
inline std::string read_page(const std::filesystem::path& path) {
  const std::string page = read_text(path), type = "<!DOCTYPE html>\n";
  REQUIRE(page.starts_with(type));
  CHECK(XmlCheck::problem(page.substr(type.size())) == "");
  return page;
}

/// The report that these flags make of a run, written beside it.
inline std::string report_of(const std::string& run, std::vector<std::string> flags = {}) {
  flags.insert(flags.begin(), {"report", run, "--device", "cpu", "--threads", "1"});
  const Outcome outcome = run_replk(flags);
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  return read_page(std::filesystem::path(run) / "report.html");
}

/// The section with this id, from its heading to its end.
inline std::string section_of(const std::string& page, const std::string& id) {
  const std::size_t start = page.find("<h2 id=\"" + id + "\"");
  REQUIRE(start != std::string::npos);
  return page.substr(start, page.find("</section>", start) - start);
}

/// A row of a table: the texts of its cells, markup inside them included.
using Row = std::vector<std::string>;

/// The body rows of the table with this caption.
inline std::vector<Row> table_of(const std::string& page, const std::string& caption) {
  const std::size_t start = page.find("<caption>" + caption + "</caption>");
  REQUIRE(start != std::string::npos);
  const std::string table = page.substr(start, page.find("</table>", start) - start);
  std::vector<Row> rows;
  for (std::size_t at = table.find("<tbody>"); (at = table.find("<tr", at)) != std::string::npos;) {
    const std::size_t end = table.find("</tr>", at);
    Row row;
    while (true) {
      const std::size_t head = table.find("<th", at + 1), cell = table.find("<td", at + 1);
      at = std::min(head, cell);
      if (at > end) break;
      const std::size_t text = table.find('>', at) + 1,
                        close = table.find(at == head ? "</th>" : "</td>", at);
      row.push_back(table.substr(text, close - text));
    }
    rows.push_back(row);
    at = end;
  }
  return rows;
}

/// The pictures of a page, decoded, in their order; `alt` texts beside them.
struct Picture {
  Image image;
  std::string alt;
};
inline std::vector<Picture> pictures_of(const std::string& page) {
  static const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<Picture> pictures;
  for (std::size_t at = 0; (at = page.find("<img ", at)) != std::string::npos; ++at) {
    const std::size_t data = page.find(";base64,", at) + 8, end = page.find('"', data);
    std::vector<std::uint8_t> bytes;
    unsigned bits = 0, count = 0;
    for (std::size_t i = data; i < end && page[i] != '='; ++i) {
      bits = bits << 6 | static_cast<unsigned>(digits.find(page[i]));
      if ((count += 6) < 8) continue;
      count -= 8;
      bytes.push_back(static_cast<std::uint8_t>(bits >> count & 255));
    }
    const std::size_t alt = page.find("alt=\"", at) + 5;
    pictures.push_back({decode_image(bytes, "picture"), page.substr(alt, page.find('"', alt) - alt)});
  }
  return pictures;
}

}  // namespace replk::test
