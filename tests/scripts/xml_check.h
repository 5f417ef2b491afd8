// Whether what we write is well-formed, and what is in it.
#pragma once

#include <cctype>
#include <stdexcept>
#include <string>
#include <string_view>

namespace replk::test {

/// A strict reader for the XML that we write: elements, quoted attributes, text, the named and numbered
/// entities. Returns what is wrong, or "" for a well-formed document with one root.
class XmlCheck {
 public:
  static std::string problem(const std::string& xml) {
    XmlCheck reader(xml);
    try {
      reader.element();
      while (reader.at_ < xml.size())
        reader.expect(std::string_view(" \n\t").find(reader.next()) != xml.npos, "end");
      return "";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  }

 private:
  explicit XmlCheck(const std::string& xml) : xml_(xml) {}

  void expect(bool condition, const std::string& what) const {
    if (!condition) throw std::runtime_error(what + " expected at byte " + std::to_string(at_));
  }
  char next() {
    expect(at_ < xml_.size(), "more");
    return xml_[at_++];
  }
  bool follows(std::string_view text) {
    if (xml_.compare(at_, text.size(), text) != 0) return false;
    at_ += text.size();
    return true;
  }
  std::string name() {
    const std::size_t start = at_;
    while (at_ < xml_.size() && (std::isalnum(static_cast<unsigned char>(xml_[at_])) || xml_[at_] == '-'))
      ++at_;
    expect(at_ > start, "name");
    return xml_.substr(start, at_ - start);
  }
  void character(char quote) {
    const auto c = static_cast<unsigned char>(next());
    expect(c >= 0x20 || c == '\n' || c == '\t', "printable character");
    expect(c != '<' && c != static_cast<unsigned char>(quote), "text");
    if (c != '&') return;
    const bool known =
        follows("amp;") || follows("lt;") || follows("gt;") || follows("quot;") || follows("#39;");
    expect(known, "entity");
  }
  void element() {
    expect(follows("<"), "element");
    const std::string tag = name();
    while (follows(" ")) {
      name();
      expect(follows("=\""), "attribute");
      while (!follows("\"")) character('"');
    }
    if (follows("/>")) return;
    expect(follows(">"), "end of the tag");
    while (!follows("</")) {
      if (xml_[at_] == '<')
        element();
      else
        character(0);
    }
    expect(name() == tag && follows(">"), "end of " + tag);
  }

  const std::string& xml_;
  std::size_t at_ = 0;
};

inline std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

}  // namespace replk::test
