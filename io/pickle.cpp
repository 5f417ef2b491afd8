#include "io/pickle.h"

#include <bit>
#include <cstring>
#include <unordered_map>

#include "core/error.h"
#include "io/shown.h"

namespace replk::pickle {
namespace {

using Kind = Value::Kind;

// The machine of the pickle format: a stack of values, marks into it, and a memo of numbered values. Every
// instruction makes at most one value and takes what it collects off the stack, so memory grows with the
// bytes read. Values are owned by the document, so neither sharing nor cycles need any care.
class Machine {
 public:
  Machine(std::span<const std::byte> bytes, const std::string& place) : bytes_(bytes), place_(place) {}

  Document run() {
    for (;;) {
      begin_ = position_;
      const auto op = static_cast<char>(number<std::uint8_t>());
      if (op == '.') break;
      if (!run_literal(op) && !run_container(op) && !run_object(op) && !run_stack(op))
        refuse("an instruction of the pickle format expected, got byte ",
               static_cast<int>(static_cast<unsigned char>(op)), ".");
    }
    document_.root = pop();
    return std::move(document_);
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(const Args&... message) const {
    throw FileError(str(place_, ": byte ", begin_, ": ", message...));
  }

  // Reading.
  std::span<const std::byte> take(std::uint64_t count) {
    if (count > bytes_.size() - position_)
      refuse(count, " more bytes expected, the pickle has ", bytes_.size() - position_, ".");
    const auto part = bytes_.subspan(position_, count);
    position_ += count;
    return part;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string text(std::uint64_t count) {
    const auto part = take(count);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  std::string line() {
    const auto* first = reinterpret_cast<const char*>(bytes_.data()) + position_;
    const std::size_t rest = bytes_.size() - position_;
    const void* end = rest > 0 ? std::memchr(first, '\n', rest) : nullptr;
    if (!end) refuse("a line expected, it does not end.");
    std::string result = text(static_cast<std::size_t>(static_cast<const char*>(end) - first));
    ++position_;
    return result;
  }

  // The stack. Nothing below the innermost mark may be taken.
  Value& push(Kind kind) {
    if (document_.values.size() >= kMostValues) refuse("at most ", kMostValues, " values expected.");
    Value& value = document_.values.emplace_back();
    value.kind = kind;
    stack_.push_back(&value);
    return value;
  }
  void push_integer(std::int64_t number) { push(Kind::integer).number = number; }
  void push_text(std::string value) { push(Kind::text).text = std::move(value); }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Value* pop() {
    Value* value = top();
    stack_.pop_back();
    return value;
  }
  Value* top() {
    if (stack_.size() <= floor()) refuse("a value expected on the stack, it is empty.");
    return stack_.back();
  }
  std::vector<const Value*> pop_to_mark() {
    if (marks_.empty()) refuse("a mark expected on the stack, there is none.");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<const Value*> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }

  void push_long(std::uint64_t count) {
    const auto part = take(count);
    if (count > sizeof(std::int64_t)) {
      push(Kind::object).text = "int";
      return;
    }
    // Little endian, two's complement, as short as possible.
    std::uint64_t value = 0;
    std::memcpy(&value, part.data(), count);
    const unsigned unused = 64 - 8 * static_cast<unsigned>(count);
    push_integer(count == 0 ? 0 : static_cast<std::int64_t>(value << unused) >> unused);
  }

  void push_decimal(const std::string& digits) {
    if (digits == "00" || digits == "01") {  // how protocol 0 writes False and True
      push(Kind::boolean).number = digits == "01";
      return;
    }
    try {
      push_integer(std::stoll(digits));
    } catch (const std::exception&) {
      refuse("a whole number of 64 bits expected, got ", shown(digits), ".");
    }
  }

  bool run_literal(char op) {
    switch (op) {
      case 'N':
        push(Kind::none);
        return true;
      case '\x88':
        push(Kind::boolean).number = 1;
        return true;
      case '\x89':
        push(Kind::boolean).number = 0;
        return true;
      case 'K':
        push_integer(number<std::uint8_t>());
        return true;
      case 'M':
        push_integer(number<std::uint16_t>());
        return true;
      case 'J':
        push_integer(number<std::int32_t>());
        return true;
      case '\x8a':
        push_long(number<std::uint8_t>());
        return true;
      case '\x8b':
        push_long(number<std::uint32_t>());
        return true;
      case 'I':
        push_decimal(line());
        return true;
      case 'L': {
        std::string digits = line();
        if (digits.ends_with('L')) digits.pop_back();
        push_decimal(digits);
        return true;
      }
      case 'G': {
        const auto value = number<std::uint64_t>();  // big endian
        push(Kind::real).real = std::bit_cast<double>(__builtin_bswap64(value));
        return true;
      }
      case 'X':
      case 'T':
      case 'B':
        push_text(text(number<std::uint32_t>()));
        return true;
      case '\x8c':
      case 'U':
      case 'C':
        push_text(text(number<std::uint8_t>()));
        return true;
      case '\x8d':
      case '\x8e':
      case '\x96':
        push_text(text(number<std::uint64_t>()));
        return true;
      case 'V':
        push_text(line());
        return true;
      default:
        return false;
    }
  }

  // Dicts and lists collect; anything else that Python code may have filled keeps its secrets.
  void extend(Value& container, const std::vector<const Value*>& items, bool pairs) {
    if (container.kind == Kind::object) return;
    if (container.kind != (pairs ? Kind::dict : Kind::list))
      refuse(pairs ? "a dict" : "a list", " expected to add to, got ", describe(container), ".");
    if (pairs && items.size() % 2 != 0) refuse("keys and values in pairs expected.");
    container.items.insert(container.items.end(), items.begin(), items.end());
  }
  void push_tuple(std::size_t count) {
    std::vector<const Value*> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    push(Kind::tuple).items = std::move(items);
  }

  bool run_container(char op) {
    switch (op) {
      case '}':
        push(Kind::dict);
        return true;
      case ']':
        push(Kind::list);
        return true;
      case ')':
        push(Kind::tuple);
        return true;
      case '\x8f':
        push(Kind::object).text = "set";
        return true;
      case '(':
        marks_.push_back(stack_.size());
        return true;
      case '\x85':
        push_tuple(1);
        return true;
      case '\x86':
        push_tuple(2);
        return true;
      case '\x87':
        push_tuple(3);
        return true;
      case 't':
      case 'l':
      case '\x91': {
        std::vector<const Value*> items = pop_to_mark();
        Value& value = push(op == 't' ? Kind::tuple : op == 'l' ? Kind::list : Kind::object);
        if (op == '\x91') value.text = "frozenset";
        value.items = std::move(items);
        return true;
      }
      case 'd': {
        const std::vector<const Value*> items = pop_to_mark();
        extend(push(Kind::dict), items, /*pairs=*/true);
        return true;
      }
      case 'a': {
        const Value* item = pop();
        extend(*top(), {item}, /*pairs=*/false);
        return true;
      }
      case 's': {
        const Value* value = pop();
        const Value* key = pop();
        extend(*top(), {key, value}, /*pairs=*/true);
        return true;
      }
      case 'e':
      case 'u':
      case '\x90': {
        const std::vector<const Value*> items = pop_to_mark();
        extend(*top(), items, op == 'u');
        return true;
      }
      default:
        return false;
    }
  }

  // Names are kept as the two texts that they come in: joined, one long text could be copied a million times.
  void push_global(const Value* module, const Value* name) {
    if (module->kind != Kind::text || name->kind != Kind::text)
      refuse("names of a module and a class expected, got ", describe(*module), " and ", describe(*name),
             ".");
    push(Kind::global).items = {module, name};
  }
  // What Python would have made by calling `called`. Empty dicts are the only thing made here.
  void push_object(const Value* called, const Value* arguments) {
    const auto is = [&](const char* name) { return called->items[1]->text == name; };
    const bool dict = called->kind == Kind::global && called->items[0]->text == "collections" &&
                      (is("OrderedDict") || is("defaultdict"));
    Value& value = push(dict ? Kind::dict : Kind::object);
    if (!dict) value.items = {called, arguments};
  }

  bool run_object(char op) {
    switch (op) {
      case 'c': {
        push_text(line());
        push_text(line());
        const Value *name = pop(), *module = pop();
        push_global(module, name);
        return true;
      }
      case '\x93': {
        const Value *name = pop(), *module = pop();
        push_global(module, name);
        return true;
      }
      case 'R':
      case '\x81': {
        const Value *arguments = pop(), *called = pop();
        push_object(called, arguments);
        return true;
      }
      case '\x92': {
        pop();
        const Value *arguments = pop(), *called = pop();
        push_object(called, arguments);
        return true;
      }
      case 'b': {
        const Value* state = pop();
        Value& built = *top();
        // An OrderedDict's attributes (PyTorch's _metadata) are not its items: they are dropped.
        if (built.kind == Kind::object && built.items.size() == 2) built.items.push_back(state);
        return true;
      }
      case 'Q': {
        const Value* id = pop();
        push(Kind::persistent).items = {id};
        return true;
      }
      default:
        return false;
    }
  }

  void remember(std::uint64_t index) { memo_[index] = top(); }
  void recall(std::uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) refuse("a value remembered as number ", index, " expected, there is none.");
    stack_.push_back(found->second);
  }
  std::uint64_t index_line() {
    const std::string digits = line();
    if (digits.empty() || digits.size() > 9 || digits.find_first_not_of("0123456789") != digits.npos)
      refuse("a number expected, got ", shown(digits), ".");
    return std::stoull(digits);
  }

  bool run_stack(char op) {
    switch (op) {
      case '\x80':
        if (const int protocol = number<std::uint8_t>(); protocol > 5)
          refuse("protocol 0 to 5 expected, got ", protocol, ".");
        return true;
      case '\x95':
        number<std::uint64_t>();
        return true;  // a frame's length: a hint for streams
      case 'q':
        remember(number<std::uint8_t>());
        return true;
      case 'r':
        remember(number<std::uint32_t>());
        return true;
      case 'p':
        remember(index_line());
        return true;
      case '\x94':
        remember(memo_.size());
        return true;
      case 'h':
        recall(number<std::uint8_t>());
        return true;
      case 'j':
        recall(number<std::uint32_t>());
        return true;
      case 'g':
        recall(index_line());
        return true;
      case '2':
        stack_.push_back(top());
        return true;
      case '0':
        if (stack_.size() > floor())
          stack_.pop_back();
        else
          pop_to_mark();
        return true;
      case '1':
        pop_to_mark();
        return true;
      default:
        return false;
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& place_;
  std::size_t position_ = 0, begin_ = 0;  // begin_: of the instruction
  Document document_;
  std::vector<Value*> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, Value*> memo_;
};

}  // namespace

std::string name_of(const Value& value) {
  const Value* at = &value;
  while (at->kind == Kind::object && !at->items.empty()) at = at->items[0];
  if (at->kind == Kind::global) return at->items[0]->text + "." + at->items[1]->text;
  return at->kind == Kind::object ? at->text : "";
}

std::string describe(const Value& value) {
  switch (value.kind) {
    case Kind::none:
      return "None";
    case Kind::boolean:
      return "a bool";
    case Kind::integer:
      return "an int";
    case Kind::real:
      return "a float";
    case Kind::text:
      return "text";
    case Kind::list:
      return "a list";
    case Kind::tuple:
      return "a tuple";
    case Kind::dict:
      return "a dict";
    case Kind::global:
      return str("the class or function ", shown(name_of(value)));
    case Kind::object:
      return str("an object made by ", shown(name_of(value)));
    case Kind::persistent:
      return "a storage";
  }
  return "a value";
}

const Value* find(const Value& dict, std::string_view key) {
  for (std::size_t i = dict.items.size(); i >= 2; i -= 2)
    if (dict.items[i - 2]->kind == Kind::text && dict.items[i - 2]->text == key) return dict.items[i - 1];
  return nullptr;
}

Document parse(std::span<const std::byte> bytes, const std::string& place) {
  return Machine(bytes, place).run();
}

}  // namespace replk::pickle
