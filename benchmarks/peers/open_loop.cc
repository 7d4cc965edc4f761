// Calls any unary gRPC method at a constant rate, whether or not the server keeps up: an open loop.
//
//     open_loop ADDRESS PATH BODY_FILE RATE SECONDS CONNECTIONS
//
// A call's latency counts from the moment at which it was meant to start, so that a server that stalls is charged for
// the calls that had to wait for it. BODY_FILE holds the message, the same for every call. Prints one JSON object:
// calls, how many of them failed, and percentiles of the latency in microseconds, those that failed included, which
// took as long as they took until they were given up.
//
// It speaks HTTP/2 by nghttp2, as h2load does, in one thread: beside a server on the same machine a generator should
// take as little of it as it can, and gRPC's own client takes twice as much.

#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr std::chrono::seconds kTimeout{5};
constexpr std::int32_t kWindow = 1 << 30;

struct Call {
  Clock::time_point intended;
  std::int64_t microseconds = -1;  // none yet
  std::size_t sent = 0;            // bytes of the message
  bool has_data = false;
  bool is_ok = false;
};

struct Load {
  std::string authority;
  std::string path;
  std::string body;
  std::vector<Call> calls;
  std::size_t done = 0;
};

Load load;

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

Call& CallOf(nghttp2_session* session, std::int32_t stream) {
  return *static_cast<Call*>(nghttp2_session_get_stream_user_data(session, stream));
}

int OnHeader(nghttp2_session* session, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
             const std::uint8_t* value, std::size_t value_size, std::uint8_t, void*) {
  if (std::string_view(reinterpret_cast<const char*>(name), name_size) == "grpc-status") {
    CallOf(session, frame->hd.stream_id).is_ok = value_size == 1 && *value == '0';
  }
  return 0;
}

int OnData(nghttp2_session* session, std::uint8_t, std::int32_t stream, const std::uint8_t*, std::size_t, void*) {
  CallOf(session, stream).has_data = true;
  return 0;
}

int OnClose(nghttp2_session* session, std::int32_t stream, std::uint32_t, void*) {
  Call& call = CallOf(session, stream);
  call.microseconds = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - call.intended).count();
  ++load.done;
  return 0;
}

ssize_t ReadBody(nghttp2_session*, std::int32_t, std::uint8_t* place, std::size_t room, std::uint32_t* flags,
                 nghttp2_data_source* source, void*) {
  Call& call = *static_cast<Call*>(source->ptr);
  const std::size_t size = std::min(room, load.body.size() - call.sent);
  std::memcpy(place, load.body.data() + call.sent, size);
  call.sent += size;
  if (call.sent == load.body.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(size);
}

nghttp2_nv Header(std::string_view name, std::string_view value) {
  const auto bytes = [](std::string_view text) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

class Connection {
 public:
  Connection(const std::string& host, const std::string& port) : socket_(Connected(host, port)) {
    nghttp2_session_callbacks* callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnData);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnClose);
    nghttp2_session_client_new(&session_, callbacks, nullptr);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry window{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kWindow};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &window, 1);
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kWindow);
    Send();
  }

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int socket() const { return socket_; }
  bool has_unsent() const { return !unsent_.empty(); }

  void Start(Call* call) {
    const std::string timeout = std::to_string(kTimeout.count()) + 'S';
    const nghttp2_nv headers[] = {
        Header(":method", "POST"),        Header(":scheme", "http"),
        Header(":path", load.path),       Header(":authority", load.authority),
        Header("te", "trailers"),         Header("content-type", "application/grpc"),
        Header("grpc-timeout", timeout),
    };
    const nghttp2_data_provider body{{.ptr = call}, ReadBody};
    if (nghttp2_submit_request(session_, nullptr, headers, std::size(headers), &body, call) < 0) {
      Fail("no more streams");
    }
  }

  void Send() {
    const std::uint8_t* bytes;
    for (ssize_t size; (size = nghttp2_session_mem_send(session_, &bytes)) > 0;) {
      unsent_.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
    }
    while (!unsent_.empty()) {
      const ssize_t size = write(socket_, unsent_.data(), unsent_.size());
      if (size < 0 && errno == EAGAIN) return;
      if (size < 0) Fail(std::string("the connection broke: ") + std::strerror(errno));
      unsent_.erase(0, static_cast<std::size_t>(size));
    }
  }

  void Receive() {
    std::uint8_t bytes[1 << 16];
    const ssize_t size = read(socket_, bytes, sizeof(bytes));
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0 || nghttp2_session_mem_recv(session_, bytes, static_cast<std::size_t>(size)) < 0) {
      Fail("the server closed a connection");
    }
    Send();
  }

 private:
  static int Connected(const std::string& host, const std::string& port) {
    addrinfo hints{}, *found;
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) Fail(host + ": no such host");
    const int made = ::socket(found->ai_family, SOCK_STREAM, 0);
    if (made < 0 || connect(made, found->ai_addr, found->ai_addrlen) != 0) {
      Fail(host + ":" + port + ": cannot be reached");
    }
    freeaddrinfo(found);
    const int on = 1;
    setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    fcntl(made, F_SETFL, O_NONBLOCK);
    return made;
  }

  int socket_;
  nghttp2_session* session_;
  std::string unsent_;
};

// Sends what could not be sent and takes what comes, until something came or so late.
void Wait(std::deque<Connection>& connections, Clock::time_point until) {
  std::vector<pollfd> polled;
  for (const Connection& connection : connections) {
    const short events = connection.has_unsent() ? POLLIN | POLLOUT : POLLIN;
    polled.push_back({connection.socket(), events, 0});
  }
  const auto left = std::max(nanoseconds{0}, std::chrono::duration_cast<nanoseconds>(until - Clock::now()));
  const timespec timeout{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
  ppoll(polled.data(), polled.size(), &timeout, nullptr);
  for (std::size_t i = 0; i < connections.size(); ++i) {
    if (polled[i].revents & POLLOUT) connections[i].Send();
    if (polled[i].revents & ~POLLOUT) connections[i].Receive();
  }
}

std::string Framed(const char* file) {
  std::ifstream opened(file, std::ios::binary);
  const std::string message((std::istreambuf_iterator<char>(opened)), std::istreambuf_iterator<char>());
  std::string framed(1, '\0');  // not compressed
  for (int shift = 24; shift >= 0; shift -= 8) framed += static_cast<char>(message.size() >> shift);
  return framed + message;
}

std::int64_t Percentile(const std::vector<std::int64_t>& sorted, double share) {
  return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 7) {
    std::fprintf(stderr, "usage: %s ADDRESS PATH BODY_FILE RATE SECONDS CONNECTIONS\n", arguments[0]);
    return 2;
  }
  load.authority = arguments[1];
  load.path = arguments[2];
  load.body = Framed(arguments[3]);
  const double rate = std::atof(arguments[4]);
  load.calls.resize(static_cast<std::size_t>(rate * std::atof(arguments[5])));
  const std::size_t colon = load.authority.rfind(':');
  std::deque<Connection> connections;
  for (int i = 0; i < std::atoi(arguments[6]); ++i) {
    connections.emplace_back(load.authority.substr(0, colon), load.authority.substr(colon + 1));
  }
  if (load.calls.empty() || connections.empty()) return 2;

  prctl(PR_SET_TIMERSLACK, 1UL);  // wake when asked to, not up to 50 us later
  const auto began = Clock::now() + std::chrono::milliseconds(10);
  const auto intended = [&](std::size_t i) {
    return began + nanoseconds(static_cast<std::int64_t>(1e9 * static_cast<double>(i) / rate));
  };
  const auto end = intended(load.calls.size()) + kTimeout;
  for (std::size_t next = 0; load.done < load.calls.size() && Clock::now() < end;) {
    for (; next < load.calls.size() && intended(next) <= Clock::now(); ++next) {
      Connection& connection = connections[next % connections.size()];
      load.calls[next].intended = intended(next);
      connection.Start(&load.calls[next]);
      connection.Send();
    }
    Wait(connections, next < load.calls.size() ? intended(next) : end);
  }

  std::vector<std::int64_t> latencies;
  std::size_t failed = 0;
  for (const Call& call : load.calls) {
    const bool is_over = call.microseconds >= 0;
    latencies.push_back(is_over ? call.microseconds : std::chrono::microseconds(kTimeout).count());
    if (!is_over || !call.is_ok || !call.has_data) ++failed;
  }
  std::sort(latencies.begin(), latencies.end());
  std::printf("{\"calls\": %zu, \"failed\": %zu, \"p50\": %ld, \"p99\": %ld, \"p99_9\": %ld}\n", load.calls.size(), failed,
              Percentile(latencies, 0.5), Percentile(latencies, 0.99), Percentile(latencies, 0.999));
}
