import java.io.InputStream;
import java.net.Socket;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.concurrent.Phaser;

/** A thread for each connection, on the socket that is standard input. */
public class Channel {
    public static void main(String[] args) throws Exception {
        ServerSocketChannel listener = (ServerSocketChannel) System.inheritedChannel();
        Phaser working = new Phaser(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                listener.close();
            } catch (Exception e) {
                e.printStackTrace();
            }
            working.arriveAndAwaitAdvance();
        }));
        while (true) {
            working.register();
            SocketChannel connection;
            try {
                connection = listener.accept();
            } catch (java.nio.channels.ClosedChannelException e) {
                working.arriveAndDeregister();
                return;
            }
            new Thread(() -> {
                try (Socket socket = connection.socket()) {
                    answer(socket);
                } catch (Exception e) {
                    // the client has gone
                } finally {
                    working.arriveAndDeregister();
                }
            }).start();
        }
    }

    static void answer(Socket socket) throws Exception {
        InputStream in = socket.getInputStream();
        StringBuilder request = new StringBuilder();
        for (int c; request.indexOf("\r\n\r\n") < 0 && (c = in.read()) >= 0;) {
            request.append((char) c);
        }
        int ms = request.indexOf("ms=");
        if (ms >= 0) {
            Thread.sleep(Long.parseLong(request.substring(ms + 3, request.indexOf(" ", ms))));
        }
        socket.getOutputStream().write(("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\nX-Version: "
            + System.getenv("VERSION") + "\r\nX-Pid: " + ProcessHandle.current().pid() + "\r\n\r\njava\n").getBytes());
    }
}
