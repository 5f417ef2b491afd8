// The pickle machine: what it builds, and what hostile pickles get.
#include "io/pickle.h"

#include "core/random.h"
#include "tests/io/hostile.h"

using namespace replk;
using namespace replk::test;
using pickle::Value;
using Kind = pickle::Value::Kind;

namespace {

// The value as Python would print it; what is a reference into a cycle shows as "...".
std::string printed(const Value& value, int depth = 0) {
  if (depth > 6) return "...";
  const auto list = [&](std::size_t first = 0) {
    std::string text;
    for (std::size_t i = first; i < value.items.size(); ++i)
      text += (i > first ? ", " : "") + printed(*value.items[i], depth + 1);
    return text;
  };
  switch (value.kind) {
    case Kind::none:
      return "None";
    case Kind::boolean:
      return value.number ? "True" : "False";
    case Kind::integer:
      return str(value.number);
    case Kind::real:
      return str(value.real);
    case Kind::text:
      return str("'", value.text, "'");
    case Kind::list:
      return str("[", list(), "]");
    case Kind::tuple:
      return str("(", list(), ")");
    case Kind::dict:
      return str("{", list(), "}");
    case Kind::global:
      return str("<", pickle::name_of(value), ">");
    case Kind::object:
      return str("<", pickle::name_of(value), " ", list(value.items.empty() ? 0 : 1), ">");
    case Kind::persistent:
      return str("<id ", list(), ">");
  }
  return "?";
}

std::string parsed(const std::string& text) {
  const Bytes bytes = bytes_of(text);
  const pickle::Document document = pickle::parse(bytes, "x.pkl");
  return printed(*document.root);
}

void refused(const std::string& text, std::vector<std::string> parts) {
  parts.push_back("x.pkl: byte ");
  check_refused([&] { parsed(text); }, parts);
}

std::string repeat(const std::string& text, std::size_t count) {
  std::string result;
  for (std::size_t i = 0; i < count; ++i) result += text;
  return result;
}

}  // namespace

TEST_CASE("io/pickle/literals") {
  using namespace std::string_literals;
  CHECK(parsed("N.") == "None");
  CHECK(parsed("\x88.") == "True");
  CHECK(parsed("\x89.") == "False");
  CHECK(parsed("K\xff.") == "255");
  CHECK(parsed("M\x01\x02.") == "513");
  CHECK(parsed("J\xfe\xff\xff\xff.") == "-2");
  CHECK(parsed("\x8a\x00."s) == "0");
  CHECK(parsed("\x8a\x01\xff.") == "-1");
  CHECK(parsed("\x8a\x02\xff\x00."s) == "255");
  CHECK(parsed(std::string("\x8a\x08") + raw<std::int64_t>(-123456789012345) + ".") == "-123456789012345");
  CHECK(parsed(std::string("\x8a\x09") + std::string(9, '\x01') + ".") == "<int >");
  CHECK(parsed("I12\n.") == "12");
  CHECK(parsed("I01\n.") == "True");
  CHECK(parsed("L-12L\n.") == "-12");
  CHECK(parsed(std::string("G\x3f\xf8") + std::string(6, '\0') + ".") == "1.5");
  CHECK(parsed("X\x02\x00\x00\x00hi."s) == "'hi'");
  CHECK(parsed("\x8c\x02hi.") == "'hi'");
  CHECK(parsed(std::string("\x8d") + raw<std::uint64_t>(2) + "hi.") == "'hi'");
  CHECK(parsed("C\x02hi.") == "'hi'");
  CHECK(parsed("Vhi\n.") == "'hi'");
}

TEST_CASE("io/pickle/containers_share_what_the_memo_shares") {
  CHECK(parsed("].") == "[]");
  CHECK(parsed("](K\x01K\x02"
               "eK\x03"
               "a.") == "[1, 2, 3]");
  CHECK(parsed("(K\x01K\x02l.") == "[1, 2]");
  CHECK(parsed("(K\x01K\x02t.") == "(1, 2)");
  CHECK(parsed("K\x01K\x02\x86.") == "(1, 2)");
  CHECK(parsed("K\x01K\x02K\x03\x87.") == "(1, 2, 3)");
  CHECK(parsed("}K\x01Ns(K\x02\x88u.") == "{1, None, 2, True}");
  CHECK(parsed("(K\x01Nd.") == "{1, None}");
  CHECK(parsed("]q\x07h\x07h\x07\x86.") == "([], [])");
  CHECK(parsed("]\x94\x8c\x01x\x94"
               "ah\x01"
               "a.") == "['x', 'x']");
  CHECK(parsed("]q\x01h\x01"
               "a.")
            .starts_with("[[[["));  // a list that holds itself
  CHECK(parsed("]2\x86.") == "([], [])");
  CHECK(parsed("K\x01(K\x02K\x03"
               "1.") == "1");
  CHECK(parsed("K\x01K\x02"
               "0.") == "1");
}

TEST_CASE("io/pickle/nothing_is_called") {
  CHECK(parsed("cos\nsystem\n.") == "<os.system>");
  CHECK(parsed("cos\nsystem\n(Vrm -rf /\ntR.") == "<os.system ('rm -rf /')>");
  CHECK(parsed("\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.") == "<os.system ('id')>");
  CHECK(parsed("cbuiltins\neval\n(V1\ntR(V2\ntR.") ==
        "<builtins.eval ('2')>");  // what eval would give is called
  CHECK(parsed("cargparse\nNamespace\n)\x81}Va\nK\x01sb.") == "<argparse.Namespace (), {'a', 1}>");
  CHECK(parsed("ccollections\nOrderedDict\n)RVa\nK\x01s}b.") == "{'a', 1}");
  CHECK(parsed("ca\nb\n)R(VX\nK\x01u.") == "<a.b ()>");  // items of unknown classes are dropped
  CHECK(parsed("\x8f(K\x01\x90.") == "<set >");
  CHECK(parsed("K\x01Q.") == "<id 1>");
}

TEST_CASE("io/pickle/hostile_pickles_are_refused") {
  using namespace std::string_literals;
  refused("", {"byte 0", "1 more bytes expected"});
  refused("K", {"1 more bytes"});
  refused("K\x01", {"byte 2"});
  refused(".", {"stack", "empty"});
  refused("\xff.", {"byte 0", "instruction", "255"});
  refused("\x80\x06N.", {"protocol", "6"});
  refused("X\xff\xff\xff\xffhi.", {"4294967295 more bytes", "has 3"});
  refused(std::string("\x8d") + raw(~std::uint64_t{0}) + "hi.", {"18446744073709551615"});
  refused("\x8b\xff\xff\xff\xff.", {"4294967295"});
  refused("Vno end", {"line"});
  refused("Inumber\n.", {"whole number", "number"});
  refused("I999999999999999999999\n.", {"whole number"});
  refused("h\x05.", {"number 5", "none"});
  refused("gx\n.", {"number expected"});
  refused("t.", {"mark"});
  refused("K\x01(a.", {"empty"});  // nothing below a mark may be taken
  refused("K\x01(\x85.", {"empty"});
  refused(
      "K\x01K\x02"
      "a.",
      {"a list expected", "an int"});
  refused("]K\x01K\x02s.", {"a dict expected", "a list"});
  refused("}(K\x01u.", {"pairs"});
  refused("K\x01K\x02\x93.", {"names of a module"});
  refused(repeat("N0", pickle::kMostValues + 1) + ".", {"at most", "values"});
}

// A few bytes that would double a text or a container again and again must not take more than they are.
TEST_CASE("io/pickle/bombs_stay_small") {
  const std::string name =
      std::string("X") + raw<std::uint32_t>(1 << 20) + std::string(1 << 20, 'x') + "q\x01";
  const Bytes names = bytes_of(name + repeat("h\x01h\x01\x93)R", 100'000) + ".");
  const pickle::Document joined = pickle::parse(names, "x.pkl");
  std::size_t bytes = 0;
  for (const Value& value : joined.values) bytes += value.text.size() + value.items.size() * sizeof(void*);
  CHECK(bytes < 4 * names.size() + 24 * joined.values.size());

  // [[], []] of the same list, a million times over: references, not copies.
  const Bytes nested = bytes_of(std::string("]") + repeat("2\x86", 200'000) + ".");
  const pickle::Document tree = pickle::parse(nested, "x.pkl");
  CHECK(tree.root->items.size() == 2);
  CHECK(pickle::describe(*tree.root) == "a tuple");

  // An object made by an object made by ...: its name is found without recursion.
  const Bytes chain = bytes_of(std::string("ca\nb\n") + repeat(")R", 300'000) + ".");
  CHECK(pickle::name_of(*pickle::parse(chain, "x.pkl").root) == "a.b");
}

TEST_CASE("io/pickle/noise_is_refused_or_read") {
  using namespace std::string_literals;
  const std::string seed =
      "\x80\x02}q\x01(X\x01\x00\x00\x00"
      "aq\x02"
      "ctorch\nfloat\nq\x03]q\x04(K\x01G12345678e\x8a\x02\x01\x02\x86h\x01u."s;
  Random random(5);
  int read = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = seed;
    for (std::int64_t changes = 1 + random.below(3); changes > 0; --changes)
      text[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(text.size())))] =
          static_cast<char>(random.next());
    try {
      parsed(text);
      ++read;
    } catch (const FileError&) {
    }
  }
  CHECK(read > 0);
  CHECK(read < 20'000);
}
