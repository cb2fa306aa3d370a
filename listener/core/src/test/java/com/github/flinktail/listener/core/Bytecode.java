package com.github.flinktail.listener.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** Which Java the classes of a module need. */
public final class Bytecode {
    public static final int JAVA_8 = 52;
    public static final int JAVA_11 = 55;

    private Bytecode() {}

    /** Checks every class file of the module that a class belongs to. */
    public static void check(Class<?> member, int version) throws IOException, URISyntaxException {
        URI home = member.getProtectionDomain().getCodeSource().getLocation().toURI();
        List<Path> classes;
        try (Stream<Path> files = Files.walk(Path.of(home))) {
            classes = files.filter(file -> file.toString().endsWith(".class")).toList();
        }
        assertFalse(classes.isEmpty());
        for (Path file : classes) {
            assertEquals(version, version(file), file.toString());
        }
    }

    private static int version(Path file) throws IOException {
        try (InputStream in = Files.newInputStream(file); DataInputStream data = new DataInputStream(in)) {
            assertEquals(0xCAFEBABE, data.readInt());
            data.readUnsignedShort();
            return data.readUnsignedShort();
        }
    }
}
