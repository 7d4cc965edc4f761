// Calls any unary gRPC method at a constant rate, whether or not the server keeps up: an open loop.
//
//     open_loop ADDRESS PATH BODY_FILE RATE SECONDS CONNECTIONS
//
// A call's latency counts from the moment at which it was meant to start, so that a server that stalls is charged for
// the calls that had to wait for it. BODY_FILE holds the message, the same for every call. Prints one JSON object:
// calls, how many of them failed, and percentiles of the latency in microseconds, those that failed included, which
// took as long as they took until they were given up.

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

constexpr std::chrono::seconds kTimeout{5};

struct Call {
  grpc::ClientContext context;
  grpc::ByteBuffer response;
};

grpc::ByteBuffer ReadMessage(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::vector<std::unique_ptr<grpc::GenericStub>> Connect(const std::string& address, int connections) {
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs;
  for (int i = 0; i < connections; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // or else all would share one connection
    const auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + kTimeout)) {
      std::fprintf(stderr, "%s: cannot be reached\n", address.c_str());
      std::exit(1);
    }
    stubs.push_back(std::make_unique<grpc::GenericStub>(channel));
  }
  return stubs;
}

double Percentile(const std::vector<std::int64_t>& sorted, double share) {
  return static_cast<double>(sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))]);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 7) {
    std::fprintf(stderr, "usage: %s ADDRESS PATH BODY_FILE RATE SECONDS CONNECTIONS\n", arguments[0]);
    return 2;
  }
  const std::string method = arguments[2];
  const grpc::ByteBuffer request = ReadMessage(arguments[3]);
  const double rate = std::atof(arguments[4]);
  const auto calls = static_cast<std::size_t>(rate * std::atof(arguments[5]));
  const auto stubs = Connect(arguments[1], std::atoi(arguments[6]));
  if (calls == 0 || stubs.empty()) return 2;

  prctl(PR_SET_TIMERSLACK, 1UL);  // wake when asked to, not up to 50 us later
  std::vector<std::int64_t> latencies(calls);
  std::atomic<std::size_t> failed{0};
  std::atomic<std::size_t> done{0};
  const auto began = Clock::now() + std::chrono::milliseconds(10);
  for (std::size_t i = 0; i < calls; ++i) {
    const auto intended = began + std::chrono::nanoseconds(static_cast<std::int64_t>(1e9 * static_cast<double>(i) / rate));
    std::this_thread::sleep_until(intended);
    auto* call = new Call;
    call->context.set_deadline(std::chrono::system_clock::now() + kTimeout);
    stubs[i % stubs.size()]->UnaryCall(
        &call->context, method, {}, &request, &call->response,
        [call, intended, i, &latencies, &failed, &done](const grpc::Status& status) {
          latencies[i] = std::chrono::duration_cast<microseconds>(Clock::now() - intended).count();
          if (!status.ok() || call->response.Length() == 0) ++failed;
          delete call;
          ++done;
        });
  }
  while (done < calls) std::this_thread::sleep_for(std::chrono::milliseconds(1));

  std::sort(latencies.begin(), latencies.end());
  std::printf("{\"calls\": %zu, \"failed\": %zu, \"p50\": %.0f, \"p99\": %.0f, \"p99_9\": %.0f}\n", calls, failed.load(),
              Percentile(latencies, 0.5), Percentile(latencies, 0.99), Percentile(latencies, 0.999));
}
