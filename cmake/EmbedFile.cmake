# cmake -DINPUT=FILE -DOUTPUT=HEADER -DNAME=kName -DNAMESPACE=a::b -P EmbedFile.cmake: the file's bytes as an array.
file(READ ${INPUT} hex HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUTPUT} "#pragma once\nnamespace ${NAMESPACE} {\ninline constexpr unsigned char ${NAME}[] = {\n${bytes}};\n}\n")
