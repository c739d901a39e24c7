#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "kv/codec/capsule/profile.h"
#include "kvcapsule/error.h"
#include "scene.h"

namespace kvcapsule {
namespace {

using Json = nlohmann::json;
using testing::RandomProfile;

const KvGeometry kGeometry{2, 2, 8, Dtype::kF16};
const std::vector<std::pair<std::string, std::string>> kMetadata = {{"model_revision", "abc"}, {"note", "x"}};

// A profile file taken apart: header and data can be damaged separately.
struct File {
  Json header;
  std::string data;

  std::string Bytes() const { return WithHeader(header.dump()); }
  std::string WithHeader(const std::string& text) const {
    const uint64_t length = text.size();
    return std::string(reinterpret_cast<const char*>(&length), 8) + text + data;
  }
  char* TensorData(const std::string& name) {
    return data.data() + header[name]["data_offsets"][0].get<size_t>();
  }
};

CapsuleProfile LoadProfile(const std::string& path, const KvGeometry& geometry) {
  ProfileReader reader(path);
  return ReadProfile(reader, geometry);
}

class CapsuleProfileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("kvcapsule-profile-test-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    path_ = folder_ / "demo.safetensors";
    testing::Rng rng(3);
    profile_ = RandomProfile(rng, kGeometry, 12, 0.5);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string ReadBytes() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void Write(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }
  File Sound() const {
    SaveProfile(path_, *profile_, kMetadata);
    const std::string bytes = ReadBytes();
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    return {Json::parse(bytes.substr(8, length)), bytes.substr(8 + length)};
  }
  // The message of the refusal; fails when the file is taken or refused with another code.
  std::string Refusal() const {
    try {
      LoadProfile(path_, kGeometry);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kProfileInvalid);
      return error.what();
    }
    ADD_FAILURE() << "the file was accepted";
    return "";
  }

  std::filesystem::path folder_, path_;
  std::shared_ptr<const CapsuleProfile> profile_;
};

TEST_F(CapsuleProfileTest, SurvivesTheRoundTrip) {
  const File file = Sound();
  const CapsuleProfile loaded = LoadProfile(path_, kGeometry);
  EXPECT_EQ(loaded.tokens, 12);
  EXPECT_EQ(loaded.layers, 2);
  EXPECT_EQ(loaded.kv_heads, 2);
  EXPECT_EQ(loaded.head_dim, 8);
  EXPECT_EQ(loaded.id.rfind("demo-", 0), 0u) << loaded.id;
  ASSERT_EQ(loaded.heads.size(), profile_->heads.size());
  for (size_t i = 0; i < loaded.heads.size(); ++i) {
    EXPECT_EQ(loaded.heads[i].rows, profile_->heads[i].rows);
    EXPECT_EQ(loaded.heads[i].mask, profile_->heads[i].mask);
    EXPECT_EQ(loaded.heads[i].theta, profile_->heads[i].theta);
    EXPECT_EQ(loaded.heads[i].basis, profile_->heads[i].basis);
    EXPECT_EQ(loaded.heads[i].mean, profile_->heads[i].mean);
  }
  const Json& metadata = file.header["__metadata__"];
  EXPECT_EQ(metadata["format"], "kvcapsule-profile");
  EXPECT_EQ(metadata["version"], "1");
  EXPECT_EQ(metadata["n"], "12");
  EXPECT_EQ(metadata["model_revision"], "abc");
  EXPECT_EQ(metadata["note"], "x");
  EXPECT_EQ(metadata["retention"], "0.5,0.3333333333333333") << "as kept, layer by layer";
  EXPECT_EQ((8 + file.header.dump().size() + 7) / 8 * 8 + file.data.size(),
            std::filesystem::file_size(path_));
}

TEST_F(CapsuleProfileTest, EqualContentHasEqualIdAndOtherContentAnother) {
  Sound();
  const std::string id = LoadProfile(path_, kGeometry).id;
  File file = Sound();
  EXPECT_EQ(LoadProfile(path_, kGeometry).id, id);
  file.TensorData("layers.0.heads.0.mean")[0] ^= 1;
  Write(file.Bytes());
  EXPECT_NE(LoadProfile(path_, kGeometry).id, id);
}

TEST_F(CapsuleProfileTest, DamagedFilesAreRefusedWithTheReason) {
  const std::string mask = "layers.1.heads.0.mask", theta = "layers.0.heads.1.theta";
  const float nan = NAN, infinity = INFINITY;
  const auto set_mask = [&](File& f, int at, int32_t value) {
    std::memcpy(f.TensorData(mask) + 4 * at, &value, 4);
  };
  const auto shift = [](File& f, const std::string& name, int64_t by) {
    auto& offsets = f.header[name]["data_offsets"];
    offsets = {offsets[0].get<int64_t>() + by, offsets[1].get<int64_t>() + by};
  };
  struct Damage {
    const char* reason;
    std::function<std::string(File&)> make;
  };
  const auto edit = [](auto change) {
    return [change](File& f) {
      change(f);
      return f.Bytes();
    };
  };
  const Damage table[] = {
      {"ends too early", [](File&) { return std::string(); }},
      {"ends too early", [](File&) { return std::string("abc"); }},
      {"header longer", [](File&) { return std::string(8, '\xff') + "{}"; }},
      {"header longer", [](File& f) { return f.WithHeader(std::string(9 << 20, ' ')); }},
      {"header longer", [](File& f) { return f.Bytes().substr(0, 40); }},
      {"not a JSON object", [](File& f) { return f.WithHeader("{\"a\":"); }},
      {"not a JSON object", [](File& f) { return f.WithHeader("[1]"); }},
      {"not a JSON object", [](File& f) { return f.WithHeader(std::string(1 << 20, '[')); }},
      {"no __metadata__", edit([](File& f) { f.header.erase("__metadata__"); })},
      {"no __metadata__", edit([](File& f) { f.header["__metadata__"] = 3; })},
      {"another format", edit([](File& f) { f.header["__metadata__"]["format"] = "pt"; })},
      {"another version", edit([](File& f) { f.header["__metadata__"]["version"] = "2"; })},
      {"lacks the text version", edit([](File& f) { f.header["__metadata__"]["version"] = 1; })},
      {"lacks the text model_revision",
       edit([](File& f) { f.header["__metadata__"].erase("model_revision"); })},
      {"lacks the text retention", edit([](File& f) { f.header["__metadata__"].erase("retention"); })},
      {"names an n", edit([](File& f) { f.header["__metadata__"]["n"] = "0"; })},
      {"names an n", edit([](File& f) { f.header["__metadata__"]["n"] = "12x"; })},
      {"names an n", edit([](File& f) { f.header["__metadata__"]["n"] = "99999999999"; })},
      {"another type, shape", edit([](File& f) { f.header["__metadata__"]["n"] = "13"; })},
      {"bytes that belong to no tensor", edit([](File& f) { f.data += "tail"; })},
      {"offsets outside the file", edit([](File& f) { f.data.resize(f.data.size() - 4); })},
      {"lacks the tensor", edit([&](File& f) {
         const size_t end = f.header[theta]["data_offsets"][1], begin = f.header[theta]["data_offsets"][0];
         for (auto& [name, entry] : f.header.items()) {
           if (name != "__metadata__" && entry["data_offsets"][0] >= end)
             shift(f, name, -static_cast<int64_t>(end - begin));
         }
         f.header.erase(theta);
         f.data.erase(begin, end - begin);
       })},
      {"tensor that this model's geometry does not", edit([](File& f) {
         f.header["layers.2.heads.0.mask"] = {
             {"dtype", "I32"}, {"shape", {1}}, {"data_offsets", {f.data.size(), f.data.size() + 4}}};
         f.data += std::string(4, '\0');
       })},
      {"overlap or leave holes", edit([&](File& f) { shift(f, theta, -4); })},
      {"overlap or leave holes", edit([&](File& f) {
         for (auto& [name, entry] : f.header.items()) {
           if (name != "__metadata__") shift(f, name, 4);
         }
         f.data.insert(0, 4, '\0');  // bytes that no tensor owns, before the first
       })},
      {"overlap or leave holes", edit([&](File& f) { f.header[theta]["data_offsets"] = {0, 4}; })},
      {"malformed entry", edit([&](File& f) { f.header[theta]["data_offsets"] = {-4, 8}; })},
      {"malformed entry", edit([&](File& f) { f.header[theta]["data_offsets"] = {0.5, 8}; })},
      {"malformed entry", edit([&](File& f) { f.header[theta]["data_offsets"] = {8}; })},
      {"malformed entry", edit([&](File& f) { f.header[theta] = "x"; })},
      {"malformed entry", edit([&](File& f) { f.header[theta].erase("dtype"); })},
      {"malformed entry", edit([&](File& f) { f.header[theta]["shape"] = {1, 2, 3}; })},
      {"another type, shape", edit([&](File& f) { f.header[theta]["shape"] = {12, 6}; })},
      {"another type, shape",
       edit([&](File& f) { f.header[theta]["shape"] = {uint64_t{1} << 33, uint64_t{1} << 33}; })},
      {"another type, shape", edit([&](File& f) { f.header[theta]["dtype"] = "F16"; })},
      {"mask of no length", edit([&](File& f) { f.header[mask]["shape"] = {13}; })},
      {"mask of no length", edit([&](File& f) { f.header[mask]["shape"] = {0}; })},
      {"mask of no length", edit([&](File& f) { f.header[mask]["shape"] = Json::array(); })},
      {"not ascending", edit([&](File& f) { set_mask(f, 1, -1); })},
      {"not ascending", edit([&](File& f) { set_mask(f, 0, 11); })},
      {"not ascending", edit([&](File& f) { set_mask(f, 3, 12); })},
      {"not finite in "
       "layers.0.heads.1.theta",
       edit([&](File& f) { std::memcpy(f.TensorData(theta) + 8, &nan, 4); })},
      {"not finite in "
       "layers.1.heads.1.mean",
       edit([&](File& f) { std::memcpy(f.TensorData("layers.1.heads.1.mean"), &infinity, 4); })},
      {"not finite in "
       "layers.1.heads.1.basis",
       edit([&](File& f) { std::memcpy(f.TensorData("layers.1.heads.1.basis"), &nan, 4); })},
  };
  for (const Damage& damage : table) {
    File file = Sound();
    Write(damage.make(file));
    const std::string message = Refusal();
    EXPECT_NE(message.find(damage.reason), std::string::npos)
        << "wanted \"" << damage.reason << "\" in \"" << message << "\"";
    EXPECT_NE(message.find("demo.safetensors"), std::string::npos);
  }
  Write(Sound().Bytes());
  EXPECT_NO_THROW(LoadProfile(path_, kGeometry));
}

TEST_F(CapsuleProfileTest, AnyFlippedByteIsTakenOrRefusedButNeverCrashes) {
  const std::string sound = Sound().Bytes();
  int32_t refused = 0;
  testing::Rng rng(17);
  for (int32_t trial = 0; trial < 900; ++trial) {
    std::string bytes = sound;
    const auto at = static_cast<size_t>(
        testing::Between(rng, 0, static_cast<int32_t>(trial % 2 ? 1500 : bytes.size() - 1)));
    bytes[at] = static_cast<char>(testing::Between(rng, 0, 255));
    if (trial % 5 == 0) bytes.resize(testing::Between(rng, 0, static_cast<int32_t>(bytes.size())));
    Write(bytes);
    try {
      LoadProfile(path_, kGeometry);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kProfileInvalid);
      ++refused;
    }
  }
  EXPECT_GT(refused, 300);
}

TEST_F(CapsuleProfileTest, OtherGeometriesAreRefused) {
  Sound();
  for (const KvGeometry& other : {KvGeometry{3, 2, 8, Dtype::kF16}, KvGeometry{1, 2, 8, Dtype::kF16},
                                  KvGeometry{2, 1, 8, Dtype::kF16}, KvGeometry{2, 2, 16, Dtype::kF16}}) {
    EXPECT_THROW(LoadProfile(path_, other), Error);
  }
  EXPECT_NO_THROW(LoadProfile(path_, {2, 2, 8, Dtype::kF32})) << "a profile serves any pool type";
}

TEST_F(CapsuleProfileTest, PathsThatAreNoFilesAreRefused) {
  EXPECT_NE(Refusal().find("is not a file"), std::string::npos);
  std::filesystem::create_directory(path_);
  EXPECT_NE(Refusal().find("is not a file"), std::string::npos);
  EXPECT_THROW(SaveProfile(path_, *profile_, kMetadata), Error);
  EXPECT_THROW(SaveProfile(folder_ / "no" / "such.safetensors", *profile_, kMetadata), Error);
  EXPECT_THROW(SaveProfile(folder_ / "ok.safetensors", *profile_, {}), Error)
      << "a profile without model_revision could not be loaded";
}

}  // namespace
}  // namespace kvcapsule
